//! The ViT classifier as a learner: soft-target cross-entropy with label smoothing, class weights and MixUp.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use saga_models::{Model as _, Runtime, directory, preprocess, vit};
use tch::Tensor;

use crate::{
    data::Dataset,
    error::TrainError,
    fit::Learner,
    loss,
    pixels::Normaliser,
    request::{Architecture, Head, Job, Settings},
    start,
};

/// A classifier in training.
pub struct Classifier {
    model: vit::VitClassifier,
    normaliser: Normaliser,
    settings: Settings,
    class_weights: Option<Tensor>,
    logit_adjustment: Option<Tensor>,
}

impl Classifier {
    /// A new model, or the one of `job.init_from`, for the classes of a data set.
    pub fn new(job: &Job, dataset: &Dataset, runtime: Runtime) -> Result<Self, TrainError> {
        let config = config(&job.architecture, &dataset.classes);
        let model = match &job.init_from {
            None => vit::VitClassifier::new(config, runtime, job.seed)?,
            Some(directory) => same(
                vit::VitClassifier::load_to_train(directory, runtime)?,
                &config,
            )?,
        };
        let normaliser = Normaliser::new(&preprocessing(&job.architecture), runtime.device)?;
        if job.init_from.is_none() {
            start::from_scratch(&model.weights().tensors(), job.seed)?;
        }
        let (labels, classes) = (&dataset.train.labels, dataset.classes.len());
        let class_weights = job.settings.class_weights.then(|| {
            let weights = loss::inverse_frequency(labels, classes);
            Tensor::f_from_slice(&weights)?.f_to_device(runtime.device)
        });
        let tau = job.settings.logit_adjustment;
        let logit_adjustment = (tau > 0.0).then(|| {
            let adjustment = loss::logit_adjustment(labels, classes, tau);
            Tensor::f_from_slice(&adjustment)?.f_to_device(runtime.device)
        });
        Ok(Self {
            model,
            normaliser,
            settings: job.settings.clone(),
            class_weights: class_weights.transpose()?,
            logit_adjustment: logit_adjustment.transpose()?,
        })
    }

    /// The model.
    pub fn weights(&self) -> &saga_models::weights::Weights {
        self.model.weights()
    }

    /// Writes the Hugging Face directory's files.
    pub fn write(&self, directory: &Path) -> Result<(), saga_models::ModelError> {
        directory::write_json(&directory.join(directory::CONFIG), self.model.config())?;
        preprocess::Config::vit(self.model.config().image_size as u32).write(directory)?;
        self.model
            .weights()
            .save(&directory.join(directory::WEIGHTS))
    }
}

impl Learner for Classifier {
    fn loss(
        &mut self,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Tensor, TrainError> {
        let classes = self.model.config().classes.classes();
        let mut targets = loss::smooth_targets(labels, classes, self.settings.label_smoothing)?;
        let mut pixels = self.normaliser.normalise(images)?;
        if self.settings.mixup > 0.0 {
            (pixels, targets) = loss::mix_up(&pixels, &targets, self.settings.mixup, random)?;
        }
        let logits = self.model.forward_t(&pixels, true)?;
        let logits = match &self.logit_adjustment {
            Some(adjustment) => logits.f_add(adjustment)?,
            None => logits,
        };
        loss::cross_entropy(&logits, &targets, self.class_weights.as_ref())
    }

    fn logits(&self, images: &Tensor) -> Result<Tensor, TrainError> {
        Ok(self.model.forward(&self.normaliser.normalise(images)?)?)
    }
}

/// How images reach the model.
pub fn preprocessing(architecture: &Architecture) -> preprocess::Config {
    preprocess::Config::vit(architecture.image_size)
}

fn config(sizes: &Architecture, classes: &[String]) -> vit::Config {
    vit::Config {
        hidden_size: sizes.hidden_size.into(),
        num_hidden_layers: sizes.num_hidden_layers.into(),
        num_attention_heads: sizes.num_attention_heads.into(),
        intermediate_size: sizes.intermediate_size.into(),
        image_size: sizes.image_size.into(),
        patch_size: sizes.patch_size.into(),
        drop_path_rate: sizes.drop_path,
        saga_head: match sizes.head {
            Head::Linear => None,
            Head::Mlp { hidden_size } => Some(vit::SagaHead {
                hidden: hidden_size.into(),
                dropout: 0.3,
            }),
        },
        ..vit::Config::default()
    }
    .with_labels(classes)
}

/// A checkpoint must be of the size and classes that the request states.
fn same(model: vit::VitClassifier, wanted: &vit::Config) -> Result<vit::VitClassifier, TrainError> {
    let found = model.config();
    let sizes = |config: &vit::Config| {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let blocks = (config.num_hidden_layers, config.num_attention_heads);
        (
            width,
            inner,
            blocks,
            config.image_size,
            config.patch_size,
            config.saga_head.clone(),
        )
    };
    if sizes(found) != sizes(wanted) {
        return Err(TrainError::field(
            "init_from",
            "holds a model of another architecture than the request's",
        ));
    }
    if found.classes.id2label != wanted.classes.id2label {
        let why = format!(
            "holds a model of the classes {}",
            found.classes.names().join(", ")
        );
        return Err(TrainError::field("init_from", why));
    }
    Ok(model)
}
