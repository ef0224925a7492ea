//! Encoded images to pixel values, on a bounded pool of CPU threads beside the models.

use std::{
    borrow::Cow,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use image::RgbImage;
use saga_batching::{BatchConfig, Batched, Batcher, SpawnError, threads};
use saga_chassis::{Histogram, Metrics};
use saga_gate::{Call, EncodedImage, Limits, decode_error, submit};
use saga_imaging::DecodeLimits;
use saga_proto::r#type::v1::Timing;
use tonic::Status;

use crate::config::Work;

/// A model's own resizing and normalising: picture to pixel values, channels first.
pub type Preprocess = Arc<dyn Fn(&RgbImage) -> Vec<f32> + Send + Sync>;

/// What spans and metrics call it.
const WORK: &str = "decode";

struct Job {
    field: Cow<'static, str>,
    image: EncodedImage,
    preprocess: Preprocess,
}

/// Pixel values and what they took.
#[derive(Debug)]
pub struct Decoded {
    /// Channels first, as the model takes them.
    pub pixels: Vec<f32>,
    /// Waiting for a decoder.
    pub queue: Duration,
    /// Decoding and resizing.
    pub decode: Duration,
}

/// The pool.
#[derive(Clone)]
pub struct Decoding {
    pool: Batcher<Job, (Vec<f32>, Duration), Status>,
}

impl Decoding {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where the operating system gives no threads.
    pub async fn start(
        limits: &Limits,
        work: &Work,
        metrics: &Metrics,
    ) -> Result<Self, SpawnError<Infallible>> {
        let limits = limits.decode();
        let threads = threads(work.decoders);
        // Images do not gain from company: a batch of one spreads them over the threads.
        let config = BatchConfig {
            max_batch: 1,
            queue_capacity: work.queue_capacity,
        };
        let seconds = metrics.decode_seconds(WORK);
        let make = move || {
            Ok::<_, Infallible>(move |jobs: Vec<Job>| {
                let answers = jobs.iter().map(|job| run(job, &limits, &seconds));
                answers.collect::<Vec<_>>()
            })
        };
        Ok(Self {
            pool: Batcher::spawn_pool(metrics.work(WORK), threads, config, make).await?,
        })
    }

    /// Pixel values of the image that came in the message field `field`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT on `field`; RESOURCE_EXHAUSTED where a unary call finds no room; DEADLINE_EXCEEDED.
    pub async fn pixels(
        &self,
        field: impl Into<Cow<'static, str>>,
        image: EncodedImage,
        preprocess: Preprocess,
        call: Call,
    ) -> Result<Decoded, Status> {
        let Batched {
            output: (pixels, decode),
            queue,
            ..
        } = submit(
            &self.pool,
            Job {
                field: field.into(),
                image,
                preprocess,
            },
            call,
        )
        .await?;
        Ok(Decoded {
            pixels,
            queue,
            decode,
        })
    }
}

fn run(
    job: &Job,
    limits: &DecodeLimits,
    seconds: &Histogram,
) -> Result<(Vec<f32>, Duration), Status> {
    let started = Instant::now();
    let picture = saga_imaging::decode(&job.image.data, limits)
        .map_err(|error| decode_error(&job.field, &error))?;
    let pixels = (job.preprocess)(&picture);
    let decode = started.elapsed();
    seconds.observe(decode);
    Ok((pixels, decode))
}

/// Where the time of one answer went: both queues together, the decoding, and the model's batch.
#[must_use]
pub fn timing<Output>(queue: Duration, decode: Duration, batched: &Batched<Output>) -> Timing {
    let times = [queue + batched.queue, decode, batched.compute];
    saga_gate::timing(times, batched.batch_size)
}
