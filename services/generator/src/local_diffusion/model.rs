//! A diffusion model of the data set's classes in service: its thread, and what only the loaded model knows.

use std::path::Path;
use std::sync::Arc;

use saga_batching::{BatchConfig, Batcher, Priority, SubmitError};
use saga_chassis::WorkMetrics;
use saga_imaging::RgbImage;
use saga_models::diffusion::class_conditional::{ClassConditional, Request, Settings};
use saga_models::diffusion::neighbours::{Nearest, Neighbours};
use saga_models::diffusion::noise::Seeded;
use saga_models::{ModelError, Runtime, checksums, directory};
use saga_proto::model::v1::LoadedModel;
use saga_serving::{LoadError, Loader};
use tokio::sync::oneshot;

use crate::error::GenerateError;

/// Jobs go one at a time, so that a picture cannot depend on what waits beside it; more wait where the service counts its
/// requests.
const BATCH: BatchConfig = BatchConfig {
    max_batch: 1,
    queue_capacity: 1024,
};

/// One picture to edit.
pub(super) struct Job {
    /// As large as the model's pictures.
    pub(super) source: RgbImage,
    /// Hash of the source's file.
    pub(super) source_blake3: String,
    pub(super) label: String,
    pub(super) seed: u64,
    pub(super) settings: Settings,
}

/// A picture of the model's size, and which training image beside its source it is nearest to.
pub(super) struct Edited {
    pub(super) picture: RgbImage,
    pub(super) nearest: Option<Nearest>,
}

/// What only the loaded model knows.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) labels: Vec<String>,
    /// Width and height of its pictures.
    pub(super) side: u32,
}

/// A picture, or why there is none for this job.
type Answer = Result<Edited, String>;

/// A handle to a model in service.
pub struct LocalModel {
    batcher: Batcher<Job, Answer, GenerateError>,
    pub(super) facts: Arc<Facts>,
}

impl LocalModel {
    /// Waits for the picture of a job.
    pub(super) async fn edit(&self, job: Job) -> Result<Answer, GenerateError> {
        let answer = self.batcher.submit(job, Priority::Normal, None).await;
        answer
            .map(|batched| batched.output)
            .map_err(|error| match error {
                SubmitError::Item(error) => error,
                error => GenerateError::Internal(error.to_string()),
            })
    }
}

/// Loads directories that the trainer wrote.
pub struct LocalLoader {
    pub(super) runtime: Runtime,
    pub(super) metrics: WorkMetrics,
}

impl Loader for LocalLoader {
    type Model = LocalModel;

    fn revision(path: &Path) -> Result<String, LoadError> {
        directory::revision(path).map_err(|error| LoadError(error.to_string()))
    }

    fn verify(path: &Path) -> Result<(), LoadError> {
        checksums::verify(path).map_err(|error| LoadError(error.to_string()))
    }

    fn is_usable(model: &LocalModel) -> bool {
        model.batcher.is_healthy()
    }

    fn set_in_service(model: &LocalModel, serves: bool) {
        model.batcher.set_in_service(serves);
    }

    async fn load(&self, path: &Path) -> Result<(LocalModel, LoadedModel), LoadError> {
        let (path, runtime) = (path.to_owned(), self.runtime);
        let (tell, told) = oneshot::channel();
        let make = move || {
            let model = ClassConditional::load(&path, runtime)?;
            let neighbours = Neighbours::load(&path)?;
            let facts = Facts {
                labels: model.labels(),
                side: model.side(),
            };
            // The receiver waits for the outcome of this closure.
            let _ = tell.send(facts);
            Ok::<_, ModelError>(move |jobs: Vec<Job>| {
                let answers = jobs.iter().map(|job| answer(&model, &neighbours, job));
                answers.collect()
            })
        };
        let refused = |error: &dyn std::fmt::Display| LoadError(error.to_string());
        let batcher = Batcher::spawn(self.metrics.clone(), BATCH, make).await;
        let batcher = batcher.map_err(|error| refused(&error))?;
        let facts = Arc::new(told.await.map_err(|error| refused(&error))?);
        let info = LoadedModel {
            precision: runtime.precision.to_string(),
            device: runtime.device_name(),
            labels: facts.labels.clone(),
            ..LoadedModel::default()
        };
        Ok((LocalModel { batcher, facts }, info))
    }
}

fn answer(
    model: &ClassConditional,
    neighbours: &Neighbours,
    job: &Job,
) -> Result<Answer, GenerateError> {
    let request = Request {
        image: &job.source,
        label: &job.label,
        noise: &mut Seeded::new(job.seed),
    };
    let made = model
        .edit(&job.settings, &mut [request])
        .map_err(|error| failure(&error))?;
    match made.into_iter().next() {
        Some(Ok(picture)) => {
            let nearest = neighbours.nearest(&picture, &job.source_blake3);
            let nearest = nearest.map_err(|error| failure(&error))?;
            Ok(Ok(Edited { picture, nearest }))
        }
        Some(Err(error @ ModelError::NotFinite)) => Ok(Err(error.to_string())),
        Some(Err(error)) => Err(failure(&error)),
        None => Err(GenerateError::Internal("the model left a job out".into())),
    }
}

fn failure(error: &ModelError) -> GenerateError {
    match error {
        ModelError::Input(why) => GenerateError::invalid("spec.parameters", why.clone()),
        error => GenerateError::Internal(error.to_string()),
    }
}
