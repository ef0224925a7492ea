//! config.json of a ViT classifier, as transformers writes it, with SAGA's additions.

use crate::error::{ModelError, Result};
use crate::labels::Labels;
use crate::layers::{Activation, check_patches, check_sizes, check_width};
use serde::{Deserialize, Serialize};

/// config.json of a ViT classifier; defaults are transformers' (ViT-Base at 224 pixels, patch 16).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub architectures: Vec<String>,
    pub model_type: String,
    pub hidden_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    pub intermediate_size: i64,
    pub hidden_act: Activation,
    pub hidden_dropout_prob: f64,
    pub attention_probs_dropout_prob: f64,
    /// Probability of dropping the last block's branches in training; earlier blocks grow linearly towards it.
    pub drop_path_rate: f64,
    pub layer_norm_eps: f64,
    pub image_size: i64,
    pub patch_size: i64,
    pub num_channels: i64,
    #[serde(flatten)]
    pub classes: Labels,
    /// Present where the head is SAGA's instead of a single linear map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saga_head: Option<SagaHead>,
}

/// The head Linear(width, hidden), BatchNorm1d, GELU, Dropout, Linear(hidden, C).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SagaHead {
    pub hidden: i64,
    pub dropout: f64,
}

impl Default for SagaHead {
    fn default() -> Self {
        Self {
            hidden: 512,
            dropout: 0.3,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            architectures: vec!["ViTForImageClassification".into()],
            model_type: "vit".into(),
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            drop_path_rate: 0.0,
            layer_norm_eps: 1e-12,
            image_size: 224,
            patch_size: 16,
            num_channels: 3,
            classes: Labels::default(),
            saga_head: None,
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
        if self.model_type != "vit" {
            return Err(ModelError::Config {
                key: "model_type",
                why: format!("{:?} is not \"vit\"", self.model_type),
            });
        }
        check_width("hidden_size", self.hidden_size, self.num_attention_heads)?;
        check_patches(self.image_size, self.patch_size)?;
        let sizes = [
            self.num_hidden_layers,
            self.intermediate_size,
            self.num_channels,
        ];
        check_sizes("num_hidden_layers", &sizes)?;
        if let Some(head) = &self.saga_head {
            check_sizes("saga_head", &[head.hidden])?;
        }
        self.classes.check()
    }
}
