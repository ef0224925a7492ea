//! Messages to comparisons and back.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use saga_batching::{BatchConfig, Batched, Batcher, SpawnError, threads};
use saga_chassis::{
    Histogram, Metrics,
    status::{internal, invalid_argument},
};
use saga_gate::{
    Call, Candidate, EncodedImage, Gate, Judgement, check_image, decode_error, submit,
};
use saga_proto::gate::v1::{DescribeResponse, ThresholdSpec};
use saga_proto::ssim::v1::ssim_service_server::SsimService;
use saga_proto::ssim::v1::{CompareRequest, CompareResponse};
use saga_proto::r#type::v1::Timing;
use tonic::{Request, Response, Status};

use crate::compare::{CompareError, Comparer, Comparison, Which};
use crate::config::{Config, Thresholds};

/// What spans and metrics call it.
const WORK: &str = "ssim";

/// Source and candidate on their way to a worker, with the message fields they came in.
struct Pair {
    source: EncodedImage,
    candidate: EncodedImage,
    fields: Fields,
    with_map: bool,
}

#[derive(Debug, Clone, Copy)]
struct Fields {
    source: &'static str,
    candidate: &'static str,
}

/// The gate and the compare service, over one pool of workers.
pub(crate) struct SsimGate {
    workers: Batcher<Pair, Comparison, Status>,
    thresholds: Thresholds,
    max_image_bytes: usize,
}

impl SsimGate {
    /// Starts the workers.
    pub(crate) async fn start(
        config: &Config,
        metrics: &Metrics,
    ) -> Result<Self, SpawnError<Infallible>> {
        let comparer = Arc::new(Comparer::new(
            config.limits.decode(),
            config.work.cache_bytes,
        ));
        let workers = threads(config.work.workers);
        // Pairs do not gain from company: a batch of one spreads them over the cores.
        let batch = BatchConfig {
            max_batch: 1,
            queue_capacity: config.work.queue_capacity,
        };
        let decode_seconds = metrics.decode_seconds(WORK);
        let make_worker = move || {
            Ok::<_, Infallible>(move |pairs: Vec<Pair>| {
                pairs
                    .iter()
                    .map(|pair| compare(&comparer, pair, &decode_seconds))
                    .collect::<Vec<_>>()
            })
        };
        Ok(Self {
            workers: Batcher::spawn_pool(metrics.work(WORK), workers, batch, make_worker).await?,
            thresholds: config.gate,
            max_image_bytes: config.limits.max_image_bytes,
        })
    }
}

fn compare(
    comparer: &Comparer,
    pair: &Pair,
    decode_seconds: &Histogram,
) -> Result<Comparison, Status> {
    comparer
        .compare(&pair.source, &pair.candidate, pair.with_map)
        .inspect(|comparison| decode_seconds.observe(comparison.decode))
        .map_err(|error| match error {
            CompareError::Decode {
                which: Which::Source,
                error,
            } => decode_error(pair.fields.source, &error),
            CompareError::Decode {
                which: Which::Candidate,
                error,
            } => decode_error(pair.fields.candidate, &error),
            CompareError::SourceTooSmall { .. } => {
                invalid_argument(pair.fields.source, error.to_string())
            }
            CompareError::Ssim(error) => internal("SSIM_FAILED", error.to_string()),
        })
}

fn timing(batched: &Batched<Comparison>) -> Timing {
    let comparison = &batched.output;
    let times = [batched.queue, comparison.decode, comparison.compute];
    saga_gate::timing(times, batched.batch_size)
}

impl Gate for SsimGate {
    fn describe(&self) -> DescribeResponse {
        let spec = |name: &str, default_value| ThresholdSpec {
            name: name.to_owned(),
            default_value,
            lowest: -1.0,
            highest: 1.0,
        };
        DescribeResponse {
            name: "ssim".to_owned(),
            description: "Structural similarity to the source on grey: too low, identity is lost; too high, nothing changed"
                .to_owned(),
            needs_source: true,
            thresholds: vec![spec("min", self.thresholds.min), spec("max", self.thresholds.max)],
            ..DescribeResponse::default()
        }
    }

    async fn evaluate(&self, candidate: Candidate) -> Result<Judgement, Status> {
        let Candidate {
            candidate,
            source,
            call,
            ..
        } = candidate;
        let source = source
            .ok_or_else(|| invalid_argument("item.source", "is missing; send the source image"))?;
        let fields = Fields {
            source: "item.source",
            candidate: "item.candidate",
        };
        let batched = submit(
            &self.workers,
            Pair {
                source,
                candidate,
                fields,
                with_map: false,
            },
            call,
        )
        .await?;
        let (width, height) = batched.output.size;
        let details = HashMap::from([
            ("width".to_owned(), width.into()),
            ("height".to_owned(), height.into()),
        ]);
        Ok(Judgement {
            score: batched.output.ssim,
            rejected: None,
            model: None,
            timing: timing(&batched),
            details,
        })
    }
}

#[tonic::async_trait]
impl SsimService for SsimGate {
    async fn compare(
        &self,
        request: Request<CompareRequest>,
    ) -> Result<Response<CompareResponse>, Status> {
        let call = Call::unary(request.metadata())?;
        let CompareRequest {
            reference,
            image,
            with_map,
        } = request.into_inner();
        let source = check_image("reference", reference, self.max_image_bytes)?;
        let candidate = check_image("image", image, self.max_image_bytes)?;
        let fields = Fields {
            source: "reference",
            candidate: "image",
        };
        let batched = submit(
            &self.workers,
            Pair {
                source,
                candidate,
                fields,
                with_map,
            },
            call,
        )
        .await?;
        let (width, height) = batched.output.size;
        let timing = Some(timing(&batched));
        Ok(Response::new(CompareResponse {
            ssim: batched.output.ssim,
            width,
            height,
            timing,
            map: batched.output.map,
        }))
    }
}
