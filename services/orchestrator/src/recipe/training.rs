//! Architectures and training settings, in the trainer's terms, and what a recipe that says nothing means.

use serde::{Deserialize, Serialize};

mod request;

/// The models that a run trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Baseline and augmented classifier alike.
    pub classifier: Model,
    /// The CLIP model of the semantic gate.
    pub clip: Model,
    /// The model of the backend `local-diffusion`; absent: that backend cannot be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diffusion: Option<super::Diffusion>,
}

/// One model's size and settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Family of a classifier.
    #[serde(default)]
    pub kind: Kind,
    /// The model's size.
    pub architecture: Architecture,
    /// Optimiser and schedule.
    pub settings: Settings,
    /// Directory of a checkpoint to start from, on the trainer's disk; empty: random weights.
    #[serde(default)]
    pub init_from: String,
}

/// Families of models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Vision transformer.
    #[default]
    Vit,
    /// ResNet-18, 34, 50 or 101.
    Resnet,
}

/// Keys as in a Hugging Face `config.json`. Of a ResNet `image_size`, `num_hidden_layers` and `hidden_size` alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Input side in pixels; 8 to 1,024, of a ResNet from 32.
    pub image_size: u32,
    /// Divides `image_size`.
    #[serde(default)]
    pub patch_size: u32,
    /// A multiple of `num_attention_heads`, 8 to 4,096; of a ResNet the channels after its last stage, a multiple of 32 up to 8,192
    /// (512 in ResNet-18, 2048 in ResNet-50).
    pub hidden_size: u32,
    /// 1 to 64; of a ResNet 18, 34, 50 or 101.
    pub num_hidden_layers: u32,
    /// 1 to 64.
    #[serde(default)]
    pub num_attention_heads: u32,
    /// Width of the feed-forward layers; 8 to 16,384.
    #[serde(default)]
    pub intermediate_size: u32,
    /// Of a classifier alone.
    #[serde(default)]
    pub head: Head,
    /// Width of the MLP head, 1 to 8,192; without it 512.
    pub head_hidden_size: Option<u32>,
    /// Of a classifier alone: drop-path probability of the last layer; 0 to 0.9.
    #[serde(default)]
    pub drop_path: f64,
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

/// What a classifier minimises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    #[default]
    CrossEntropy,
    /// Counts images little that the model is sure of.
    Focal,
    /// Larger margins for rarer classes.
    Ldam,
}

/// Optimiser and schedule. CLIP and diffusion models have no `label_smoothing`, `mixup`, `cutmix`, `class_weights`, `logit_adjustment`,
/// `loss` and `synthetic_weight`, diffusion models no `head_warmup` and `layer_decay` either.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Optimiser steps, 1 to 10,000,000; the same for every arm of a comparison.
    pub steps: u32,
    /// Images a step; 2 to 4,096.
    pub batch_size: u32,
    /// Peak learning rate; 1e-9 to 1.
    pub learning_rate: f64,
    /// Decoupled weight decay; 0 to 10.
    #[serde(default)]
    pub weight_decay: f64,
    /// Share of the steps with rising learning rate; 0 to 1.
    #[serde(default)]
    pub warmup: f64,
    /// 0 to 0.9.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Decay of the weights' moving average; 0 to 0.999999, 0: off.
    #[serde(default)]
    pub ema_decay: f64,
    /// How images are drawn.
    #[serde(default)]
    pub sampling: Sampling,
    /// Weigh the loss by inverse class frequency.
    #[serde(default)]
    pub class_weights: bool,
    /// Alpha of MixUp's Beta distribution; 0 to 10, 0: off. Absent: 0.2 for a classifier without `cutmix`, else off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixup: Option<f64>,
    /// Classical augmentation of the training images.
    #[serde(default)]
    pub augment: bool,
    /// Largest gradient norm; 0 to 1,000,000, 0: no clipping.
    #[serde(default)]
    pub gradient_clip: f64,
    /// Validation epochs without a better macro F1 after which training stops; 0: never.
    #[serde(default)]
    pub patience: u32,
    /// Batches whose gradients make one step; 1 to 1,024.
    #[serde(default = "default_accumulation")]
    pub accumulation: u32,
    /// Share of the steps in which the head alone trains, before all layers do; 0 to 0.9.
    #[serde(default)]
    pub head_warmup: f64,
    /// Learning rate of each layer relative to the one above it; 0.01 to 1.
    #[serde(default = "default_layer_decay")]
    pub layer_decay: f64,
    /// What is minimised.
    #[serde(default)]
    pub loss: Loss,
    /// Focal loss: exponent; 0 to 10.
    #[serde(default = "default_focal_gamma")]
    pub focal_gamma: f64,
    /// LDAM: margin of the rarest class, in units of the logits; 0 to 30. The 0.5 of its paper (Cao et al. 2019) is of cosines that are
    /// multiplied by 30, and so 15 here, where it is not set.
    #[serde(default = "default_ldam_margin")]
    pub ldam_margin: f64,
    /// Share of the steps after which `class_weights` apply; 0 to 1.
    #[serde(default)]
    pub class_weights_from: f64,
    /// Alpha of CutMix's Beta distribution; 0 to 10, 0: off.
    #[serde(default)]
    pub cutmix: f64,
    /// Operations of RandAugment for each image; 0 to 14, 0: off.
    #[serde(default)]
    pub randaugment_operations: u32,
    /// Magnitude of RandAugment; 0 to 30.
    #[serde(default = "default_randaugment_magnitude")]
    pub randaugment_magnitude: u32,
    /// Probability of erasing a rectangle of an image; 0 to 1.
    #[serde(default)]
    pub random_erasing: f64,
    /// Balanced sampling: how often one image comes in an epoch at most; 0: as often as balance takes.
    #[serde(default)]
    pub oversampling_limit: u32,
    /// Tau of the logit-adjusted loss (Menon et al. 2021); 0 to 10, 0: off.
    #[serde(default)]
    pub logit_adjustment: f64,
    /// What a synthetic image counts in the loss beside a real one; 0.01 to 1.
    #[serde(default = "default_synthetic_weight")]
    pub synthetic_weight: f64,
}

/// Of a classifier whose recipe names neither `mixup` nor `cutmix`: the alpha with which Zhang et al. (2018,
/// <https://arxiv.org/abs/1710.09412>) train on ImageNet.
const USUAL_MIXUP: f64 = 0.2;

impl Settings {
    /// Fills in what is a classifier's alone.
    pub(super) fn complete_for_classifier(&mut self) {
        let usual = if self.cutmix == 0.0 { USUAL_MIXUP } else { 0.0 };
        self.mixup.get_or_insert(usual);
    }
}

fn default_accumulation() -> u32 {
    1
}

fn default_layer_decay() -> f64 {
    1.0
}

fn default_focal_gamma() -> f64 {
    2.0
}

fn default_ldam_margin() -> f64 {
    15.0
}

fn default_randaugment_magnitude() -> u32 {
    9
}

fn default_synthetic_weight() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn classifiers_blend_by_mixup_where_a_recipe_says_nothing() {
        let text = include_str!("../../recipes/studio.toml");
        let with = |given: &str| {
            let recipe = Recipe::parse(&text.replacen("mixup = 0.0,", given, 1)).unwrap();
            let alpha = |model: &Model| model.settings.mixup;
            [&recipe.training.classifier, &recipe.training.clip].map(alpha)
        };
        assert_eq!(with(""), [Some(0.2), None]);
        assert_eq!(with("mixup = 0.0,"), [Some(0.0), None]);
        assert_eq!(with("mixup = 0.4, cutmix = 1.0,"), [Some(0.4), None]);
        assert_eq!(with("cutmix = 1.0,"), [Some(0.0), None]);
    }
}
