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
    /// Optimiser and schedule; those of classifiers alone stay 0 and false.
    pub settings: Settings,
    /// Checkpoint to start from, below the trainer's models folder; empty: random weights.
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
