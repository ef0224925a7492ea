//! Architectures and training settings, in the trainer's terms.

use saga_proto::trainer::v1 as proto;
use serde::{Deserialize, Serialize};

/// The models that a run trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Baseline and augmented classifier alike.
    pub classifier: Model,
    /// The CLIP model of the semantic gate.
    pub clip: Model,
}

/// One model's size and settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Vision transformer's size.
    pub architecture: Architecture,
    /// Optimiser and schedule.
    pub settings: Settings,
    /// Checkpoint to start from, below the trainer's models folder; empty: random weights.
    #[serde(default)]
    pub init_from: String,
}

/// Keys as in a Hugging Face `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Input side in pixels; 16 to 1,024.
    pub image_size: u32,
    /// Divides `image_size`.
    pub patch_size: u32,
    /// A multiple of `num_attention_heads`.
    pub hidden_size: u32,
    /// 1 to 64.
    pub num_hidden_layers: u32,
    /// 1 to 64.
    pub num_attention_heads: u32,
    /// Width of the feed-forward layers.
    pub intermediate_size: u32,
    /// Classifier's head.
    #[serde(default)]
    pub head: Head,
    /// Width of the MLP head.
    #[serde(default = "default_head_hidden_size")]
    pub head_hidden_size: u32,
    /// Drop-path probability of the last layer; 0 to 0.9.
    #[serde(default)]
    pub drop_path: f64,
}

fn default_head_hidden_size() -> u32 {
    512
}

/// Head of the classifier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// One linear layer.
    #[default]
    Linear,
    /// Linear, BatchNorm, GELU, Dropout 0.3, Linear.
    Mlp,
}

/// How images are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Every image once an epoch.
    #[default]
    Plain,
    /// Classes with equal probability.
    Balanced,
}

/// Optimiser and schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Optimiser steps; the same for every arm of a comparison.
    pub steps: u32,
    /// Images a step; 1 to 4,096.
    pub batch_size: u32,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay; 0 to 1.
    #[serde(default)]
    pub weight_decay: f64,
    /// Share of the steps with rising learning rate; 0 to 1.
    #[serde(default)]
    pub warmup: f64,
    /// 0 to 0.9.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Decay of the weights' moving average; 0: off.
    #[serde(default)]
    pub ema_decay: f64,
    /// How images are drawn.
    #[serde(default)]
    pub sampling: Sampling,
    /// Weigh the loss by inverse class frequency.
    #[serde(default)]
    pub class_weights: bool,
    /// Alpha of MixUp's Beta distribution; 0: off.
    #[serde(default)]
    pub mixup: f64,
    /// Classical augmentation of the training images.
    #[serde(default)]
    pub augment: bool,
    /// Largest gradient norm; 0: no clipping.
    #[serde(default)]
    pub gradient_clip: f64,
    /// Validation epochs without a better macro F1 after which training stops; 0: never.
    #[serde(default)]
    pub patience: u32,
    /// Tau of the logit-adjusted loss (Menon et al. 2021); 0 to 10, 0: off.
    #[serde(default)]
    pub logit_adjustment: f64,
}

impl From<&Architecture> for proto::Architecture {
    fn from(of: &Architecture) -> Self {
        let head = match of.head {
            Head::Linear => proto::HeadKind::Linear,
            Head::Mlp => proto::HeadKind::Mlp,
        };
        Self {
            image_size: of.image_size,
            patch_size: of.patch_size,
            hidden_size: of.hidden_size,
            num_hidden_layers: of.num_hidden_layers,
            num_attention_heads: of.num_attention_heads,
            intermediate_size: of.intermediate_size,
            head: head.into(),
            head_hidden_size: of.head_hidden_size,
            drop_path: of.drop_path,
        }
    }
}

impl From<&Settings> for proto::TrainingSettings {
    fn from(of: &Settings) -> Self {
        let sampling = match of.sampling {
            Sampling::Plain => proto::Sampling::Plain,
            Sampling::Balanced => proto::Sampling::Balanced,
        };
        Self {
            steps: of.steps,
            epochs: 0,
            batch_size: of.batch_size,
            learning_rate: of.learning_rate,
            weight_decay: of.weight_decay,
            warmup: of.warmup,
            label_smoothing: of.label_smoothing,
            ema_decay: of.ema_decay,
            sampling: sampling.into(),
            class_weights: of.class_weights,
            mixup: of.mixup,
            augment: of.augment,
            gradient_clip: of.gradient_clip,
            patience: of.patience,
            logit_adjustment: of.logit_adjustment,
        }
    }
}
