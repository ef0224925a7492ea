//! One loaded classifier: its worker thread, its preprocessing and its labels.

use std::{path::Path, sync::Arc};

use saga_batching::BatchConfig;
use saga_chassis::{Readiness, WorkMetrics, status::internal};
use saga_models::{
    Checkpoint, ModelError, Runtime, checksums, directory,
    preprocess::Preprocessor,
    tch::{Device, Tensor},
};
use saga_proto::{model::v1::LoadedModel, r#type::v1::ModelVersion};
use saga_serving::{LoadError, Loader, Preprocess, Worker};
use tokio::sync::OnceCell;
use tonic::Status;

use crate::explainer::Explainer;

/// A handle to a classifier in service.
pub(crate) struct Classifier {
    pub(crate) worker: Worker<Question, Answer>,
    pub(crate) preprocess: Preprocess,
    pub(crate) labels: Vec<String>,
    /// Height and width of the images that preprocessing makes.
    pub(crate) input_size: (u32, u32),
    /// Its differentiable copy, from the first question for reasons on.
    pub(crate) explainer: OnceCell<Explainer>,
}

/// One image, and what is asked about it.
pub(crate) struct Question {
    /// Pixel values as preprocessing makes them.
    pub(crate) pixels: Vec<f32>,
    pub(crate) with_features: bool,
}

/// What the model makes of one image.
pub(crate) struct Answer {
    /// In label order.
    pub(crate) logits: Vec<f32>,
    /// What enters the head; empty unless asked for.
    pub(crate) features: Vec<f32>,
}

/// Loads ViT classifiers.
pub(crate) struct VitLoader {
    pub(crate) runtime: Runtime,
    pub(crate) instances: usize,
    pub(crate) batch: BatchConfig,
    pub(crate) metrics: WorkMetrics,
    pub(crate) readiness: Readiness,
}

/// What only the loaded model knows.
struct Facts {
    preprocessor: Arc<Preprocessor>,
    labels: Vec<String>,
    id: String,
    precision: String,
}

impl Loader for VitLoader {
    type Model = Classifier;

    fn revision(path: &Path) -> Result<String, LoadError> {
        directory::revision(path).map_err(|error| LoadError(error.to_string()))
    }

    fn verify(path: &Path) -> Result<(), LoadError> {
        checksums::verify(path).map_err(|error| LoadError(error.to_string()))
    }

    fn is_usable(model: &Classifier) -> bool {
        model.worker.is_usable()
    }

    fn set_in_service(model: &Classifier, serves: bool) {
        model.worker.set_in_service(serves);
    }

    async fn load(&self, path: &Path) -> Result<(Classifier, LoadedModel), LoadError> {
        let (path, runtime, instances) = (path.to_owned(), self.runtime, self.instances);
        let make = move || {
            saga_models::runtime::share_cores(instances);
            let checkpoint = Checkpoint::read(&path)?;
            let preprocessor = Arc::new(checkpoint.preprocessor()?);
            let model = saga_models::Classifier::from_checkpoint(checkpoint, runtime)?;
            warm_up(&model, &preprocessor)?;
            let facts = Facts {
                preprocessor: Arc::clone(&preprocessor),
                labels: model.labels(),
                id: model.id(),
                precision: model.precision().to_string(),
            };
            let compute = move |questions| compute(&model, &preprocessor, questions);
            Ok::<_, ModelError>((facts, compute))
        };
        let (worker, facts) = Worker::spawn(
            self.metrics.clone(),
            instances,
            self.batch,
            self.readiness.clone(),
            make,
        )
        .await?;
        let Facts {
            preprocessor,
            labels,
            id,
            precision,
        } = facts;
        let info = LoadedModel {
            version: Some(ModelVersion {
                id,
                ..ModelVersion::default()
            }),
            precision,
            device: self.runtime.device_name(),
            labels: labels.clone(),
            ..LoadedModel::default()
        };
        let input_size = preprocessor.output_size();
        let preprocess: Preprocess = Arc::new(move |picture| preprocessor.pixel_values(picture));
        Ok((
            Classifier {
                worker,
                preprocess,
                labels,
                input_size,
                explainer: OnceCell::new(),
            },
            info,
        ))
    }
}

/// The first forward pass allocates and plans; no request should pay for it.
fn warm_up(model: &saga_models::Classifier, preprocessor: &Preprocessor) -> Result<(), ModelError> {
    let (height, width) = preprocessor.output_size();
    let blank = Question {
        pixels: vec![0.0; 3 * height as usize * width as usize],
        with_features: false,
    };
    answers(model, preprocessor, vec![blank]).map(drop)
}

fn compute(
    model: &saga_models::Classifier,
    preprocessor: &Preprocessor,
    questions: Vec<Question>,
) -> Vec<Result<Answer, Status>> {
    let count = questions.len();
    match answers(model, preprocessor, questions) {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) => {
            let failed = internal("MODEL_FAILED", error.to_string());
            (0..count).map(|_| Err(failed.clone())).collect()
        }
    }
}

/// One for each question. Features leave the device only where somebody asks for them.
fn answers(
    model: &saga_models::Classifier,
    preprocessor: &Preprocessor,
    questions: Vec<Question>,
) -> Result<Vec<Answer>, ModelError> {
    let (pixels, asked): (Vec<_>, Vec<_>) = questions
        .into_iter()
        .map(|question| (question.pixels, question.with_features))
        .unzip();
    let (logits, features) = model.forward_with_features(&preprocessor.batch(&pixels)?)?;
    let features = match asked.contains(&true) {
        true => rows_of(&features)?,
        false => vec![Vec::new(); asked.len()],
    };
    let answers = rows_of(&logits)?.into_iter().zip(features).zip(asked);
    Ok(answers
        .map(|((logits, features), asked)| Answer {
            logits,
            features: if asked { features } else { Vec::new() },
        })
        .collect())
}

fn rows_of(matrix: &Tensor) -> Result<Vec<Vec<f32>>, ModelError> {
    let matrix = matrix.f_to_device(Device::Cpu)?.f_contiguous()?;
    Ok(Vec::<Vec<f32>>::try_from(&matrix)?)
}
