//! A classifier as a learner: soft targets with label smoothing, MixUp and CutMix, under one of three losses, whose classes may
//! be weighted from the start or (deferred re-weighting, as LDAM's paper does) from a later step on.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use saga_models::{ModelError, Runtime, golden, preprocess, weights::Weights};
use tch::Tensor;

use crate::{
    data::Dataset,
    error::TrainError,
    fit::{Judged, Learner},
    loss,
    mix::mix,
    network::Network,
    pixels::Normaliser,
    request::{Architecture, Job, Loss, Settings},
};

/// A classifier in training.
pub struct Classifier {
    network: Network,
    normaliser: Normaliser,
    preprocessing: preprocess::Config,
    settings: Settings,
    classes: i64,
    class_weights: Option<Tensor>,
    /// Added to the logits in training.
    logit_adjustment: Option<Tensor>,
    /// Of LDAM.
    margins: Option<Tensor>,
    /// How much of the training is done.
    progress: f64,
}

impl Classifier {
    /// A new model, or the one of `job.init_from`, for the classes of a data set.
    pub fn new(job: &Job, dataset: &Dataset, runtime: Runtime) -> Result<Self, TrainError> {
        let (labels, classes) = (&dataset.train.labels, dataset.classes.len());
        let tensor = |values: Vec<f32>| Tensor::f_from_slice(&values)?.f_to_device(runtime.device);
        let weighted = job.settings.class_weights;
        let class_weights = weighted.then(|| tensor(loss::inverse_frequency(labels, classes)));
        let margins = match job.settings.loss {
            Loss::Ldam { margin, .. } => Some(tensor(loss::ldam_margins(labels, classes, margin))),
            Loss::CrossEntropy | Loss::Focal { .. } => None,
        };
        let tau = job.settings.logit_adjustment;
        let adjusted = (tau > 0.0).then(|| tensor(loss::logit_adjustment(labels, classes, tau)));
        let preprocessing = preprocessing(&job.architecture);
        Ok(Self {
            network: Network::new(job, &dataset.classes, runtime)?,
            normaliser: Normaliser::new(&preprocessing, runtime.device)?,
            preprocessing,
            settings: job.settings.clone(),
            classes: classes as i64,
            class_weights: class_weights.transpose()?,
            logit_adjustment: adjusted.transpose()?,
            margins: margins.transpose()?,
            progress: 0.0,
        })
    }

    /// Parameters and buffers.
    pub fn weights(&self) -> &Weights {
        self.network.weights()
    }

    /// Writes the Hugging Face directory's files and golden answers.
    pub fn write(&self, directory: &Path) -> Result<(), ModelError> {
        self.network.write(directory, &self.preprocessing)?;
        golden::record(directory)
    }
}

impl Learner for Classifier {
    fn begin_step(&mut self, progress: f64) {
        self.progress = progress;
    }

    fn loss(
        &mut self,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Tensor, TrainError> {
        let settings = &self.settings;
        let targets = loss::smooth_targets(labels, self.classes, settings.label_smoothing)?;
        let pixels = self.normaliser.normalise(images)?;
        let (pixels, targets) = mix(pixels, targets, (settings.mixup, settings.cutmix), random)?;
        let mut logits = self.network.train(&pixels)?;
        if let Some(adjustment) = &self.logit_adjustment {
            logits = logits.f_add(adjustment)?;
        }
        let weights = self.class_weights.as_ref();
        let weights = weights.filter(|_| self.progress >= settings.class_weights_from);
        match (settings.loss, &self.margins) {
            (Loss::Focal { gamma }, _) => loss::focal(&logits, &targets, gamma, weights),
            (Loss::Ldam { scale, .. }, Some(margins)) => {
                loss::ldam(&logits, &targets, margins, scale, weights)
            }
            _ => loss::cross_entropy(&logits, &targets, weights),
        }
    }

    fn validate(&self, images: &Tensor, labels: &Tensor, _: usize) -> Result<Judged, TrainError> {
        let logits = self.network.logits(&self.normaliser.normalise(images)?)?;
        Judged::of_logits(&logits, labels)
    }
}

/// How images reach the model.
pub fn preprocessing(architecture: &Architecture) -> preprocess::Config {
    preprocess::Config::vit(architecture.image_size)
}
