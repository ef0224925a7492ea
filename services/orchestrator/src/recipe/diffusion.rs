//! The small diffusion model that is trained where candidates come of it.

use saga_proto::trainer::v1 as proto;
use serde::{Deserialize, Serialize};

use super::Settings;

/// The `[training.diffusion]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diffusion {
    /// UNet's size.
    pub architecture: UNet,
    /// What it predicts.
    #[serde(default)]
    pub prediction: Prediction,
    /// How much noise is added at each time of training.
    #[serde(default)]
    pub noise_schedule: NoiseSchedule,
    /// Times whose signal-to-noise ratio is larger weigh no more than those where it is as large; 5 is usual, 0: all weigh the same.
    #[serde(default)]
    pub min_snr_gamma: f64,
    /// Optimiser and schedule, without those of classifiers and those of models with a head.
    pub settings: Settings,
    /// Directory of a checkpoint to start from, on the trainer's disk; empty: random weights.
    #[serde(default)]
    pub init_from: String,
}

/// Keys as of the other models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNet {
    /// Side in pixels, a multiple of 4; 8 to 128.
    pub image_size: u32,
    /// Channels at full size, a multiple of 8; 8 to 512.
    pub hidden_size: u32,
    /// Residual blocks of each of the three levels; 1 to 4.
    pub num_hidden_layers: u32,
}

/// What a diffusion model predicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The velocity.
    #[default]
    V,
    /// The noise.
    Epsilon,
}

/// Noise schedules by diffusers' names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseSchedule {
    #[default]
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
    Linear,
    ScaledLinear,
}

impl From<&UNet> for proto::Architecture {
    fn from(of: &UNet) -> Self {
        Self {
            image_size: of.image_size,
            hidden_size: of.hidden_size,
            num_hidden_layers: of.num_hidden_layers,
            ..Self::default()
        }
    }
}

impl From<Prediction> for proto::Prediction {
    fn from(of: Prediction) -> Self {
        match of {
            Prediction::V => Self::V,
            Prediction::Epsilon => Self::Epsilon,
        }
    }
}

impl From<NoiseSchedule> for proto::NoiseSchedule {
    fn from(of: NoiseSchedule) -> Self {
        match of {
            NoiseSchedule::SquaredCosine => Self::SquaredcosCapV2,
            NoiseSchedule::Linear => Self::Linear,
            NoiseSchedule::ScaledLinear => Self::ScaledLinear,
        }
    }
}
