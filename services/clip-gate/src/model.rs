//! One loaded CLIP: its worker thread, its preprocessing, its tokenizer and the prompts it has seen.

use std::{path::Path, sync::Arc};

use saga_batching::BatchConfig;
use saga_chassis::{Readiness, WorkMetrics, status::internal};
use saga_models::{
    Checkpoint, Model as _, ModelError, Runtime, checksums,
    clip::{Clip, TextConfig},
    directory,
    preprocess::Preprocessor,
    tch,
    tokenizer::{Tokenizer, Tokens},
};
use saga_proto::{model::v1::LoadedModel, r#type::v1::ModelVersion};
use saga_serving::{LoadError, Loader, Preprocess, Worker};
use tonic::Status;

use crate::prompts::PromptCache;

/// What the worker embeds; both kinds share its batches.
pub(crate) enum Input {
    /// Pixel values, channels first.
    Image(Vec<f32>),
    /// A tokenised sentence.
    Text(Tokens),
}

/// A unit vector of the space that images and texts share.
pub(crate) type Embedding = Vec<f32>;

/// A handle to a CLIP in service.
pub(crate) struct ClipModel {
    pub(crate) worker: Worker<Input, Embedding>,
    pub(crate) preprocess: Preprocess,
    pub(crate) tokenizer: Tokenizer,
    /// What cosines are multiplied by before a softmax over prompts.
    pub(crate) logit_scale: f64,
    pub(crate) prompts: PromptCache,
    /// Height and width of the images that preprocessing makes.
    pub(crate) input_size: (u32, u32),
    /// Length of an embedding.
    pub(crate) projection_dim: i64,
    /// Which tokens make a sentence.
    pub(crate) text_config: TextConfig,
}

/// Loads CLIP models.
pub(crate) struct ClipLoader {
    pub(crate) runtime: Runtime,
    pub(crate) instances: usize,
    pub(crate) batch: BatchConfig,
    pub(crate) metrics: WorkMetrics,
    pub(crate) readiness: Readiness,
    pub(crate) cached_prompts: usize,
}

/// What only the loaded model knows.
struct Facts {
    id: String,
    precision: String,
    logit_scale: f64,
    projection_dim: i64,
    text_config: TextConfig,
    preprocessor: Arc<Preprocessor>,
    tokenizer: Tokenizer,
}

impl Loader for ClipLoader {
    type Model = ClipModel;

    fn revision(path: &Path) -> Result<String, LoadError> {
        directory::revision(path).map_err(|error| LoadError(error.to_string()))
    }

    fn verify(path: &Path) -> Result<(), LoadError> {
        checksums::verify(path).map_err(|error| LoadError(error.to_string()))
    }

    fn is_usable(model: &ClipModel) -> bool {
        model.worker.is_usable()
    }

    fn set_in_service(model: &ClipModel, serves: bool) {
        model.worker.set_in_service(serves);
    }

    async fn load(&self, path: &Path) -> Result<(ClipModel, LoadedModel), LoadError> {
        let (path, runtime, instances) = (path.to_owned(), self.runtime, self.instances);
        let make = move || {
            saga_models::runtime::share_cores(instances);
            let checkpoint = Checkpoint::read(&path)?;
            let preprocessor = Arc::new(checkpoint.preprocessor()?);
            let model = Clip::from_checkpoint(checkpoint, runtime)?;
            warm_up(&model, &preprocessor)?;
            let facts = facts(&model, &path, Arc::clone(&preprocessor))?;
            let compute = move |inputs: Vec<Input>| answer(&model, &preprocessor, inputs);
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
        let info = LoadedModel {
            version: Some(ModelVersion {
                id: facts.id,
                ..ModelVersion::default()
            }),
            precision: facts.precision,
            device: self.runtime.device_name(),
            ..LoadedModel::default()
        };
        let preprocessor = facts.preprocessor;
        let input_size = preprocessor.output_size();
        let preprocess: Preprocess = Arc::new(move |picture| preprocessor.pixel_values(picture));
        let prompts = PromptCache::new(self.cached_prompts);
        Ok((
            ClipModel {
                worker,
                preprocess,
                tokenizer: facts.tokenizer,
                logit_scale: facts.logit_scale,
                prompts,
                input_size,
                projection_dim: facts.projection_dim,
                text_config: facts.text_config,
            },
            info,
        ))
    }
}

fn facts(model: &Clip, path: &Path, preprocessor: Arc<Preprocessor>) -> Result<Facts, ModelError> {
    let config = model.config();
    let positions = config.text_config.max_position_embeddings;
    let vision = &config.vision_config;
    Ok(Facts {
        id: format!("clip-vit-patch{}-{}", vision.patch_size, vision.image_size),
        precision: model.precision().to_string(),
        logit_scale: model.logit_scale()?,
        projection_dim: config.projection_dim,
        text_config: config.text_config.clone(),
        preprocessor,
        tokenizer: Tokenizer::from_dir(path, usize::try_from(positions).unwrap_or_default())?,
    })
}

/// The first forward pass allocates and plans; no request should pay for it.
fn warm_up(model: &Clip, preprocessor: &Preprocessor) -> Result<(), ModelError> {
    let (height, width) = preprocessor.output_size();
    let blank = vec![0.0; 3 * height as usize * width as usize];
    image_rows(model, preprocessor, &[blank]).map(drop)
}

/// Embeds images and texts of one batch, each kind at once, and puts the answers back in order.
fn answer(
    model: &Clip,
    preprocessor: &Preprocessor,
    inputs: Vec<Input>,
) -> Vec<Result<Embedding, Status>> {
    let is_image: Vec<bool> = inputs
        .iter()
        .map(|input| matches!(input, Input::Image(_)))
        .collect();
    let (mut images, mut texts) = (Vec::new(), Vec::new());
    for input in inputs {
        match input {
            Input::Image(pixels) => images.push(pixels),
            Input::Text(tokens) => texts.push(tokens),
        }
    }
    let mut images = each(images.len(), image_rows(model, preprocessor, &images)).into_iter();
    let mut texts = each(texts.len(), text_rows(model, &texts)).into_iter();
    let lost = || Err(internal("MODEL_FAILED", "the model answered too few rows"));
    let next = |is_image| {
        if is_image {
            images.next()
        } else {
            texts.next()
        }
    };
    is_image
        .into_iter()
        .map(next)
        .map(|row| row.unwrap_or_else(lost))
        .collect()
}

/// One answer for each item: its row, or the error of all.
fn each(items: usize, rows: Result<Vec<Embedding>, ModelError>) -> Vec<Result<Embedding, Status>> {
    match rows {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(error) => {
            let failed = internal("MODEL_FAILED", error.to_string());
            (0..items).map(|_| Err(failed.clone())).collect()
        }
    }
}

fn image_rows(
    model: &Clip,
    preprocessor: &Preprocessor,
    images: &[Vec<f32>],
) -> Result<Vec<Embedding>, ModelError> {
    if images.is_empty() {
        return Ok(Vec::new());
    }
    rows(&model.image_embeds(&preprocessor.batch(images)?)?)
}

fn text_rows(model: &Clip, texts: &[Tokens]) -> Result<Vec<Embedding>, ModelError> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    rows(&model.text_embeds(texts)?)
}

fn rows(embeddings: &tch::Tensor) -> Result<Vec<Embedding>, ModelError> {
    Ok(Vec::<Embedding>::try_from(
        &embeddings.f_to_device(tch::Device::Cpu)?.f_contiguous()?,
    )?)
}
