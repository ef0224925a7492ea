//! The settings of a training, each within its limits.

use saga_proto::trainer::v1 as proto;
use serde::Serialize;

use super::{
    options::{self, Loss, Transfer},
    within,
};
use crate::{error::TrainError, randaugment::RandAugment, sampler::Sampling};

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    Steps(u32),
    Epochs(u32),
}

/// The optimisation; meanings as in the contract.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    pub length: Length,
    pub batch_size: u32,
    pub learning_rate: f64,
    pub weight_decay: f64,
    pub warmup: f64,
    pub label_smoothing: f64,
    pub ema_decay: f64,
    pub sampling: Sampling,
    pub class_weights: bool,
    pub mixup: f64,
    pub augment: bool,
    pub gradient_clip: f64,
    pub patience: u32,
    pub logit_adjustment: f64,
    /// Batches of one step; at least 1.
    pub accumulation: u32,
    pub transfer: Transfer,
    pub loss: Loss,
    pub class_weights_from: f64,
    pub cutmix: f64,
    pub rand_augment: RandAugment,
    pub random_erasing: f64,
    pub oversampling_limit: u32,
    /// Left out where it changes nothing, so that models of before it stay known by their requests.
    #[serde(skip_serializing_if = "counts_in_full")]
    pub synthetic_weight: f64,
}

fn counts_in_full(weight: &f64) -> bool {
    *weight == 1.0
}

impl Settings {
    /// Images that one step shows.
    pub fn images_per_step(&self) -> usize {
        self.batch_size as usize * self.accumulation as usize
    }

    /// Whether any of them makes sense for a classifier alone.
    pub(super) fn of_classifiers(&self) -> bool {
        let soft = [
            self.mixup,
            self.cutmix,
            self.label_smoothing,
            self.logit_adjustment,
        ];
        soft.iter().any(|&value| value > 0.0)
            || self.class_weights
            || self.loss != Loss::CrossEntropy
            || !counts_in_full(&self.synthetic_weight)
    }
}

/// All settings, each within its limits.
pub(super) fn settings(settings: &proto::TrainingSettings) -> Result<Settings, TrainError> {
    let length = match (settings.steps, settings.epochs) {
        (0, 0) => {
            return Err(TrainError::field(
                "settings.steps",
                "is 0, and so is epochs; set one of them",
            ));
        }
        (0, epochs) => Length::Epochs(within("settings.epochs", epochs, 1..=10_000)?),
        (steps, _) => Length::Steps(within("settings.steps", steps, 1..=10_000_000)?),
    };
    let sampling = match settings.sampling() {
        proto::Sampling::Unspecified | proto::Sampling::Plain => Sampling::Plain,
        proto::Sampling::Balanced => Sampling::Balanced,
    };
    Ok(Settings {
        length,
        batch_size: within("settings.batch_size", settings.batch_size, 2..=4096)?,
        learning_rate: within("settings.learning_rate", settings.learning_rate, 1e-9..=1.0)?,
        weight_decay: within("settings.weight_decay", settings.weight_decay, 0.0..=10.0)?,
        warmup: within("settings.warmup", settings.warmup, 0.0..=1.0)?,
        label_smoothing: within(
            "settings.label_smoothing",
            settings.label_smoothing,
            0.0..=0.9,
        )?,
        ema_decay: within("settings.ema_decay", settings.ema_decay, 0.0..=0.999_999)?,
        sampling,
        class_weights: settings.class_weights,
        mixup: within("settings.mixup", settings.mixup, 0.0..=10.0)?,
        augment: settings.augment,
        gradient_clip: within("settings.gradient_clip", settings.gradient_clip, 0.0..=1e6)?,
        patience: settings.patience,
        logit_adjustment: within(
            "settings.logit_adjustment",
            settings.logit_adjustment,
            0.0..=10.0,
        )?,
        accumulation: within("settings.accumulation", settings.accumulation, 0..=1024)?.max(1),
        transfer: options::transfer(settings)?,
        loss: options::loss(settings)?,
        class_weights_from: within(
            "settings.class_weights_from",
            settings.class_weights_from,
            0.0..=1.0,
        )?,
        cutmix: within("settings.cutmix", settings.cutmix, 0.0..=10.0)?,
        rand_augment: options::rand_augment(settings)?,
        random_erasing: within(
            "settings.random_erasing",
            settings.random_erasing,
            0.0..=1.0,
        )?,
        oversampling_limit: settings.oversampling_limit,
        synthetic_weight: options::synthetic_weight(settings)?,
    })
}
