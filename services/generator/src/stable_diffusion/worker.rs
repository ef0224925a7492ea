//! The pipeline's thread: jobs that wait together and agree in their settings are made in one batch.

use anyhow::Context as _;
use saga_batching::{BatchConfig, Batcher, Priority, SubmitError};
use saga_chassis::WorkMetrics;
use saga_imaging::RgbImage;
use saga_models::diffusion::noise::Seeded;
use saga_models::diffusion::scheduler::Kind;
use saga_models::diffusion::{Request, Settings, StableDiffusion, revision};
use saga_models::{ModelError, Runtime};
use tokio::sync::oneshot;

use super::config::StableDiffusionConfig;
use crate::error::GenerateError;

/// Jobs that wait here; more wait where the service counts its requests.
const QUEUE: usize = 1024;
/// Pictures at once on a GPU. On a CPU one alone keeps every core busy.
const GPU_BATCH: usize = 8;

/// One picture to make.
pub(super) struct Job {
    pub(super) prompt: String,
    pub(super) negative_prompt: String,
    pub(super) source: Option<RgbImage>,
    pub(super) seed: u64,
    pub(super) settings: Settings,
}

impl Job {
    /// Whether both can be made in one batch.
    fn agrees_with(&self, other: &Self) -> bool {
        let size = |job: &Self| job.source.as_ref().map(RgbImage::dimensions);
        self.settings == other.settings && size(self) == size(other)
    }
}

/// What only the loaded pipeline knows.
pub(super) struct Facts {
    /// Of the weights.
    pub(super) revision: String,
    pub(super) is_instructed: bool,
    /// Of requests that name none.
    pub(super) scheduler: Kind,
    /// Sides of pictures are multiples of this.
    pub(super) scale: u32,
    /// Pictures that are made at once.
    pub(super) max_batch: usize,
}

/// A picture, or why there is none for this job.
type Answer = Result<RgbImage, String>;

pub(super) struct Worker(Batcher<Job, Answer, GenerateError>);

impl Worker {
    /// Loads the pipeline on its thread.
    pub(super) async fn spawn(
        config: &StableDiffusionConfig,
        metrics: WorkMetrics,
    ) -> anyhow::Result<(Self, Facts)> {
        let runtime = Runtime::select(&config.device, &config.precision)?;
        let suitable = if runtime.device.is_cuda() {
            GPU_BATCH
        } else {
            1
        };
        let max_batch = match config.max_batch {
            0 => suitable,
            chosen => chosen,
        };
        let (tell, told) = oneshot::channel();
        let config = config.clone();
        let make = move || {
            let (pipeline, facts) = load(&config, runtime, max_batch)?;
            // The receiver waits for the outcome of this closure.
            let _ = tell.send(facts);
            Ok::<_, ModelError>(move |jobs: Vec<Job>| answer(&pipeline, &jobs))
        };
        let batch = BatchConfig {
            max_batch,
            queue_capacity: QUEUE,
        };
        let loading = "the pipeline of `stable_diffusion.directory` does not load";
        let batcher = Batcher::spawn(metrics, batch, make)
            .await
            .context(loading)?;
        Ok((Self(batcher), told.await.context(loading)?))
    }

    /// Waits for the picture of a job.
    pub(super) async fn make(&self, job: Job) -> Result<Answer, GenerateError> {
        let answer = self.0.submit(job, Priority::Normal, None).await;
        answer
            .map(|batched| batched.output)
            .map_err(|error| match error {
                SubmitError::Item(error) => error,
                error => GenerateError::Internal(error.to_string()),
            })
    }
}

fn load(
    config: &StableDiffusionConfig,
    runtime: Runtime,
    max_batch: usize,
) -> Result<(StableDiffusion, Facts), ModelError> {
    let loras = config.loras();
    let mut pipeline = StableDiffusion::load(&config.directory, runtime, &loras)?;
    pipeline.set_tiling(config.tiling);
    let chosen = (!config.scheduler.is_empty()).then(|| config.scheduler.parse());
    let facts = Facts {
        revision: revision(&config.directory, &loras)?,
        is_instructed: pipeline.is_instructed(),
        scheduler: chosen.transpose()?.unwrap_or_else(|| pipeline.scheduler()),
        scale: u32::try_from(pipeline.scale()).unwrap_or(8),
        max_batch,
    };
    Ok((pipeline, facts))
}

/// One answer for each job, in order.
fn answer(pipeline: &StableDiffusion, jobs: &[Job]) -> Vec<Result<Answer, GenerateError>> {
    let mut answers: Vec<Option<Result<Answer, GenerateError>>> =
        jobs.iter().map(|_| None).collect();
    for (index, job) in jobs.iter().enumerate() {
        if answers.get(index).is_some_and(Option::is_some) {
            continue;
        }
        let agreeing: Vec<(usize, &Job)> = jobs
            .iter()
            .enumerate()
            .filter(|(_, other)| job.agrees_with(other))
            .collect();
        let batch: Vec<&Job> = agreeing.iter().map(|(_, job)| *job).collect();
        for ((index, _), made) in agreeing.iter().zip(together(pipeline, &batch)) {
            if let Some(answer) = answers.get_mut(*index) {
                *answer = Some(made);
            }
        }
    }
    let missing = || {
        Err(GenerateError::Internal(
            "the pipeline left a job out".to_owned(),
        ))
    };
    answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(missing))
        .collect()
}

/// Jobs that agree, in one batch.
fn together(pipeline: &StableDiffusion, jobs: &[&Job]) -> Vec<Result<Answer, GenerateError>> {
    let Some(first) = jobs.first() else {
        return Vec::new();
    };
    let mut noises: Vec<Seeded> = jobs.iter().map(|job| Seeded::new(job.seed)).collect();
    let requests = jobs.iter().zip(&mut noises).map(|(job, noise)| Request {
        prompt: &job.prompt,
        negative_prompt: &job.negative_prompt,
        image: job.source.as_ref(),
        noise,
    });
    let mut requests: Vec<Request> = requests.collect();
    match pipeline.generate(&first.settings, &mut requests) {
        Ok(made) => made.into_iter().map(outcome).collect(),
        Err(error) => {
            let failed = failure(&error);
            jobs.iter().map(|_| Err(failed.clone())).collect()
        }
    }
}

fn outcome(made: Result<RgbImage, ModelError>) -> Result<Answer, GenerateError> {
    match made {
        Ok(picture) => Ok(Ok(picture)),
        Err(error @ ModelError::NotFinite) => Ok(Err(error.to_string())),
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &ModelError) -> GenerateError {
    match error {
        ModelError::Input(why) => GenerateError::invalid("spec.parameters", why.clone()),
        ModelError::Config { .. } => {
            GenerateError::invalid("spec.parameters[\"scheduler\"]", error.to_string())
        }
        error => GenerateError::Internal(error.to_string()),
    }
}
