//! Settings that come in groups: the loss of a classifier, and how a checkpoint's layers are trained further.

use saga_proto::trainer::v1 as proto;
use serde::Serialize;

use super::within;
use crate::{
    error::TrainError,
    randaugment::{MOST, RandAugment},
};

/// What a classifier minimises; see [`crate::loss`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    CrossEntropy,
    Focal { gamma: f64 },
    Ldam { margin: f64 },
}

/// Stages of fine-tuning; see [`crate::stages`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Transfer {
    /// Share of the steps in which the head alone trains.
    pub head_warmup: f64,
    /// Learning rate of a layer relative to the one above it; 1: all alike.
    pub layer_decay: f64,
}

/// The loss, with its parameters within their limits.
pub(super) fn loss(settings: &proto::TrainingSettings) -> Result<Loss, TrainError> {
    Ok(match settings.loss() {
        proto::Loss::Unspecified | proto::Loss::CrossEntropy => Loss::CrossEntropy,
        proto::Loss::Focal => Loss::Focal {
            gamma: within("settings.focal_gamma", settings.focal_gamma, 0.0..=10.0)?,
        },
        proto::Loss::Ldam => Loss::Ldam {
            margin: within("settings.ldam_margin", settings.ldam_margin, 0.0..=30.0)?,
        },
    })
}

/// Both stages, within their limits.
pub(super) fn transfer(settings: &proto::TrainingSettings) -> Result<Transfer, TrainError> {
    let layer_decay = within("settings.layer_decay", settings.layer_decay, 0.0..=1.0)?;
    Ok(Transfer {
        head_warmup: within("settings.head_warmup", settings.head_warmup, 0.0..=0.9)?,
        layer_decay: if layer_decay == 0.0 { 1.0 } else { layer_decay },
    })
}

/// What a synthetic image counts beside a real one.
pub(super) fn synthetic_weight(settings: &proto::TrainingSettings) -> Result<f64, TrainError> {
    match settings.synthetic_weight {
        0.0 => Ok(1.0),
        weight => within("settings.synthetic_weight", weight, 0.01..=1.0),
    }
}

/// Operations and magnitude, within their limits.
pub(super) fn rand_augment(settings: &proto::TrainingSettings) -> Result<RandAugment, TrainError> {
    let (operations, magnitude) = (
        settings.randaugment_operations,
        settings.randaugment_magnitude,
    );
    Ok(RandAugment {
        operations: within("settings.randaugment_operations", operations, 0..=14)?,
        magnitude: within("settings.randaugment_magnitude", magnitude, 0..=MOST)?,
    })
}
