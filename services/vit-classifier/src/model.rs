//! One loaded classifier: its worker thread, its preprocessing and its labels.

use std::{path::Path, sync::Arc};

use saga_batching::BatchConfig;
use saga_chassis::{Readiness, status::internal};
use saga_models::{
    Model as _, ModelError, Runtime, directory, preprocess::Preprocessor, tch, vit::VitClassifier,
};
use saga_proto::{model::v1::LoadedModel, r#type::v1::ModelVersion};
use saga_serving::{LoadError, Loader, Preprocess, Worker};
use tonic::Status;

/// A handle to a classifier in service.
pub(crate) struct Classifier {
    /// Pixel values in, logits in label order out.
    pub(crate) worker: Worker<Vec<f32>, Vec<f32>>,
    pub(crate) preprocess: Preprocess,
    pub(crate) labels: Vec<String>,
    /// Height and width of the images that preprocessing makes.
    pub(crate) input_size: (u32, u32),
}

/// Loads ViT classifiers.
pub(crate) struct VitLoader {
    pub(crate) runtime: Runtime,
    pub(crate) batch: BatchConfig,
    pub(crate) readiness: Readiness,
}

/// What only the loaded model knows.
struct Facts {
    labels: Vec<String>,
    id: String,
    precision: String,
}

impl Loader for VitLoader {
    type Model = Classifier;

    fn revision(path: &Path) -> Result<String, LoadError> {
        directory::revision(path).map_err(|error| LoadError(error.to_string()))
    }

    fn is_usable(model: &Classifier) -> bool {
        model.worker.is_usable()
    }

    async fn load(&self, path: &Path) -> Result<(Classifier, LoadedModel), LoadError> {
        let (path, runtime) = (path.to_owned(), self.runtime);
        let preprocessor =
            Arc::new(Preprocessor::from_dir(&path).map_err(|error| LoadError(error.to_string()))?);
        let batching = Arc::clone(&preprocessor);
        let make = move || {
            let model = VitClassifier::load(&path, runtime)?;
            warm_up(&model, &batching)?;
            let facts = facts(&model);
            let compute = move |images: Vec<Vec<f32>>| answer(&model, &batching, &images);
            Ok::<_, ModelError>((facts, compute))
        };
        let (worker, facts) =
            Worker::spawn("vit", self.batch, self.readiness.clone(), make).await?;
        let Facts {
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
            },
            info,
        ))
    }
}

fn facts(model: &VitClassifier) -> Facts {
    let config = model.config();
    Facts {
        labels: config.labels(),
        id: format!("vit-patch{}-{}", config.patch_size, config.image_size),
        precision: model.precision().to_string(),
    }
}

/// The first forward pass allocates and plans; no request should pay for it.
fn warm_up(model: &VitClassifier, preprocessor: &Preprocessor) -> Result<(), ModelError> {
    let (height, width) = preprocessor.output_size();
    let blank = vec![0.0; 3 * height as usize * width as usize];
    logits(model, preprocessor, &[blank]).map(drop)
}

fn answer(
    model: &VitClassifier,
    preprocessor: &Preprocessor,
    images: &[Vec<f32>],
) -> Vec<Result<Vec<f32>, Status>> {
    match logits(model, preprocessor, images) {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(error) => {
            let failed = internal("MODEL_FAILED", error.to_string());
            images.iter().map(|_| Err(failed.clone())).collect()
        }
    }
}

/// One row of logits for each image.
fn logits(
    model: &VitClassifier,
    preprocessor: &Preprocessor,
    images: &[Vec<f32>],
) -> Result<Vec<Vec<f32>>, ModelError> {
    let logits = model
        .forward(&preprocessor.batch(images)?)?
        .f_to_device(tch::Device::Cpu)?
        .f_contiguous()?;
    Ok(Vec::<Vec<f32>>::try_from(&logits)?)
}
