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

/// Where a recipe says nothing.
const USUAL_HEAD_HIDDEN_SIZE: u32 = 512;

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
    /// Alpha of MixUp's Beta distribution; 0 to 10, 0: off.
    #[serde(default)]
    pub mixup: f64,
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

impl From<Kind> for proto::ModelKind {
    fn from(of: Kind) -> Self {
        match of {
            Kind::Vit => Self::VitClassifier,
            Kind::Resnet => Self::ResnetClassifier,
        }
    }
}

impl From<&Architecture> for proto::Architecture {
    fn from(of: &Architecture) -> Self {
        let (head, head_hidden_size) = match of.head {
            Head::Linear => (proto::HeadKind::Linear, 0),
            Head::Mlp => (
                proto::HeadKind::Mlp,
                of.head_hidden_size.unwrap_or(USUAL_HEAD_HIDDEN_SIZE),
            ),
        };
        Self {
            image_size: of.image_size,
            patch_size: of.patch_size,
            hidden_size: of.hidden_size,
            num_hidden_layers: of.num_hidden_layers,
            num_attention_heads: of.num_attention_heads,
            intermediate_size: of.intermediate_size,
            head: head.into(),
            head_hidden_size,
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
        let loss = match of.loss {
            Loss::CrossEntropy => proto::Loss::CrossEntropy,
            Loss::Focal => proto::Loss::Focal,
            Loss::Ldam => proto::Loss::Ldam,
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
            accumulation: of.accumulation,
            head_warmup: of.head_warmup,
            layer_decay: of.layer_decay,
            loss: loss.into(),
            focal_gamma: of.focal_gamma,
            ldam_margin: of.ldam_margin,
            class_weights_from: of.class_weights_from,
            cutmix: of.cutmix,
            randaugment_operations: of.randaugment_operations,
            randaugment_magnitude: of.randaugment_magnitude,
            random_erasing: of.random_erasing,
            oversampling_limit: of.oversampling_limit,
            logit_adjustment: of.logit_adjustment,
            synthetic_weight: of.synthetic_weight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> proto::TrainingSettings {
        let text = format!("steps = 7\nbatch_size = 4\nlearning_rate = 1e-3\n{more}");
        (&toml::from_str::<Settings>(&text).unwrap()).into()
    }

    fn head(more: &str) -> (proto::HeadKind, u32) {
        let text = format!("image_size = 32\nhidden_size = 16\nnum_hidden_layers = 1\n{more}");
        let sizes: proto::Architecture = (&toml::from_str::<Architecture>(&text).unwrap()).into();
        (sizes.head(), sizes.head_hidden_size)
    }

    #[test]
    fn what_a_recipe_leaves_out_changes_nothing() {
        let plain = proto::TrainingSettings {
            steps: 7,
            batch_size: 4,
            learning_rate: 1e-3,
            sampling: proto::Sampling::Plain.into(),
            accumulation: 1,
            layer_decay: 1.0,
            loss: proto::Loss::CrossEntropy.into(),
            focal_gamma: 2.0,
            ldam_margin: 15.0,
            randaugment_magnitude: 9,
            synthetic_weight: 1.0,
            ..proto::TrainingSettings::default()
        };
        assert_eq!(settings(""), plain);
        assert_eq!(head(""), (proto::HeadKind::Linear, 0));
    }

    #[test]
    fn an_mlp_head_has_a_usual_width() {
        assert_eq!(head("head = \"mlp\""), (proto::HeadKind::Mlp, 512));
        let narrow = "head = \"mlp\"\nhead_hidden_size = 64";
        assert_eq!(head(narrow), (proto::HeadKind::Mlp, 64));
    }

    /// Every setting has a value of its own, so that none can come where another belongs.
    #[test]
    fn a_request_says_what_the_recipe_says() {
        let found = settings(
            "weight_decay = 0.01\nwarmup = 0.02\nlabel_smoothing = 0.03\nema_decay = 0.04\nsampling = \"balanced\"\n\
             class_weights = true\nmixup = 0.05\naugment = true\ngradient_clip = 0.06\npatience = 11\naccumulation = 12\n\
             head_warmup = 0.07\nlayer_decay = 0.08\nloss = \"focal\"\nfocal_gamma = 0.09\nldam_margin = 0.1\n\
             class_weights_from = 0.11\ncutmix = 0.12\nrandaugment_operations = 13\nrandaugment_magnitude = 14\n\
             random_erasing = 0.13\noversampling_limit = 15\nlogit_adjustment = 0.14\nsynthetic_weight = 0.15",
        );
        let wanted = proto::TrainingSettings {
            steps: 7,
            epochs: 0,
            batch_size: 4,
            learning_rate: 1e-3,
            weight_decay: 0.01,
            warmup: 0.02,
            label_smoothing: 0.03,
            ema_decay: 0.04,
            sampling: proto::Sampling::Balanced.into(),
            class_weights: true,
            mixup: 0.05,
            augment: true,
            gradient_clip: 0.06,
            patience: 11,
            accumulation: 12,
            head_warmup: 0.07,
            layer_decay: 0.08,
            loss: proto::Loss::Focal.into(),
            focal_gamma: 0.09,
            ldam_margin: 0.1,
            class_weights_from: 0.11,
            cutmix: 0.12,
            randaugment_operations: 13,
            randaugment_magnitude: 14,
            random_erasing: 0.13,
            oversampling_limit: 15,
            logit_adjustment: 0.14,
            synthetic_weight: 0.15,
        };
        assert_eq!(found, wanted);
        assert_eq!(settings("loss = \"ldam\"").loss(), proto::Loss::Ldam);
    }
}
