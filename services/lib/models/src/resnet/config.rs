//! config.json of a ResNet classifier, as transformers writes it.

use crate::error::{ModelError, Result};
use crate::labels::Labels;
use crate::layers::check_sizes;
use serde::{Deserialize, Serialize};

/// config.json of a ResNet classifier; defaults are transformers' (ResNet-50).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub architectures: Vec<String>,
    pub model_type: String,
    pub num_channels: i64,
    /// Channels after the first convolution.
    pub embedding_size: i64,
    /// Channels after each stage.
    pub hidden_sizes: Vec<i64>,
    /// Blocks of each stage.
    pub depths: Vec<i64>,
    pub layer_type: LayerType,
    pub hidden_act: String,
    pub downsample_in_first_stage: bool,
    /// Where a bottleneck halves the image: in its first convolution, or (as torchvision and timm) in its 3 x 3 one.
    pub downsample_in_bottleneck: bool,
    #[serde(flatten)]
    pub classes: Labels,
}

/// The kind of block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerType {
    /// Two 3 x 3 convolutions: ResNet-18 and 34.
    Basic,
    /// 1 x 1, 3 x 3, 1 x 1: ResNet-50 and deeper.
    Bottleneck,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            architectures: vec!["ResNetForImageClassification".into()],
            model_type: "resnet".into(),
            num_channels: 3,
            embedding_size: 64,
            hidden_sizes: vec![256, 512, 1024, 2048],
            depths: vec![3, 4, 6, 3],
            layer_type: LayerType::Bottleneck,
            hidden_act: "relu".into(),
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
            classes: Labels::default(),
        }
    }
}

impl Config {
    /// The same model for these classes, in this order.
    pub fn with_labels<L: Into<String>>(mut self, labels: impl IntoIterator<Item = L>) -> Self {
        self.classes = Labels::new(labels);
        self
    }

    /// # Errors
    /// [`ModelError::Config`] naming the first key that cannot be.
    pub fn check(&self) -> Result<()> {
        let refuse = |key, why: String| Err(ModelError::Config { key, why });
        if self.model_type != "resnet" {
            return refuse(
                "model_type",
                format!("{:?} is not \"resnet\"", self.model_type),
            );
        }
        if self.hidden_act != "relu" {
            return refuse(
                "hidden_act",
                format!("{:?} is not \"relu\"", self.hidden_act),
            );
        }
        if self.hidden_sizes.len() != self.depths.len() || self.depths.is_empty() {
            let why = format!(
                "{:?} and depths {:?} must be as many, one at least",
                self.hidden_sizes, self.depths
            );
            return refuse("hidden_sizes", why);
        }
        check_sizes("hidden_sizes", &self.hidden_sizes)?;
        check_sizes("depths", &self.depths)?;
        check_sizes("embedding_size", &[self.num_channels, self.embedding_size])?;
        let bottleneck = self.layer_type == LayerType::Bottleneck;
        if bottleneck && self.hidden_sizes.iter().any(|size| size % 4 != 0) {
            return refuse(
                "hidden_sizes",
                "must be multiples of 4 in bottlenecks".into(),
            );
        }
        self.classes.check()
    }
}
