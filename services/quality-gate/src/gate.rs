//! The gate contract over a pool of threads that decode and measure.

use std::collections::HashMap;
use std::convert::Infallible;

use saga_batching::{BatchConfig, Batcher, SpawnError, threads};
use saga_chassis::Metrics;
use saga_gate::{Candidate, EncodedImage, Gate, Judgement, decode_error, submit, timing};
use saga_proto::gate::v1::{DescribeResponse, ThresholdSpec};
use tonic::Status;

use crate::config::{Config, Thresholds};
use crate::measure::{Quality, measure};

/// What spans and metrics call it.
const WORK: &str = "quality";
/// Of 8-bit levels: a Laplacian is 1,020 at most.
pub(crate) const LARGEST_SHARPNESS: f64 = 1_040_400.0;
/// The gate's own reason.
const TOO_SMALL: &str = "TOO_SMALL";

/// The gate.
pub(crate) struct QualityGate {
    workers: Batcher<EncodedImage, Quality, Status>,
    thresholds: Thresholds,
}

impl QualityGate {
    /// Starts the workers.
    pub(crate) async fn start(
        config: &Config,
        metrics: &Metrics,
    ) -> Result<Self, SpawnError<Infallible>> {
        let workers = threads(config.work.workers);
        // Images do not gain from company: a batch of one spreads them over the cores.
        let batch = BatchConfig {
            max_batch: 1,
            queue_capacity: config.work.queue_capacity,
        };
        let (limits, side) = (config.limits.decode(), config.gate.measured_side);
        let decode_seconds = metrics.decode_seconds(WORK);
        let make_worker = move || {
            Ok::<_, Infallible>(move |images: Vec<EncodedImage>| {
                let quality = |image: &EncodedImage| {
                    measure(&image.data, &limits, side)
                        .inspect(|quality| decode_seconds.observe(quality.decode))
                        .map_err(|error| decode_error("item.candidate", &error))
                };
                images.iter().map(quality).collect::<Vec<_>>()
            })
        };
        Ok(Self {
            workers: Batcher::spawn_pool(metrics.work(WORK), workers, batch, make_worker).await?,
            thresholds: config.gate,
        })
    }
}

impl Gate for QualityGate {
    fn describe(&self) -> DescribeResponse {
        DescribeResponse {
            name: "quality".to_owned(),
            description:
                "Large and sharp enough to learn from: the variance of the Laplacian at one size"
                    .to_owned(),
            thresholds: vec![ThresholdSpec {
                name: "min".to_owned(),
                default_value: self.thresholds.min,
                lowest: 0.0,
                highest: LARGEST_SHARPNESS,
            }],
            ..DescribeResponse::default()
        }
    }

    async fn evaluate(&self, candidate: Candidate) -> Result<Judgement, Status> {
        let Candidate {
            candidate, call, ..
        } = candidate;
        let batched = submit(&self.workers, candidate, call).await?;
        let quality = batched.output;
        let (width, height) = quality.size;
        let too_small = width.min(height) < self.thresholds.min_side;
        let times = [batched.queue, quality.decode, quality.compute];
        Ok(Judgement {
            score: quality.sharpness,
            rejected: too_small.then_some(TOO_SMALL),
            model: None,
            timing: timing(times, batched.batch_size),
            details: HashMap::from([
                ("width".to_owned(), width.into()),
                ("height".to_owned(), height.into()),
                ("min_side".to_owned(), self.thresholds.min_side.into()),
            ]),
        })
    }
}
