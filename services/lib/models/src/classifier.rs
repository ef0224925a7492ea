//! Image classifiers of either kind, for those who only want logits.

use crate::checkpoint::{Architecture, Checkpoint};
use crate::error::{ModelError, Result};
use crate::model::Model as _;
use crate::resnet::{LayerType, ResNetClassifier};
use crate::runtime::{Precision, Runtime};
use crate::vit::VitClassifier;
use tch::Tensor;

/// A classifier to serve.
pub enum Classifier {
    Vit(VitClassifier),
    ResNet(ResNetClassifier),
}

impl Classifier {
    /// # Errors
    /// As [`crate::Model::from_checkpoint`]; [`ModelError::Config`] where the checkpoint is no classifier.
    pub fn from_checkpoint(checkpoint: Checkpoint, runtime: Runtime) -> Result<Self> {
        match checkpoint.architecture {
            Architecture::Vit(_) => {
                VitClassifier::from_checkpoint(checkpoint, runtime).map(Self::Vit)
            }
            Architecture::ResNet(_) => {
                ResNetClassifier::from_checkpoint(checkpoint, runtime).map(Self::ResNet)
            }
            Architecture::Clip(_) => Err(ModelError::Config {
                key: "model_type",
                why: "\"clip\" is no classifier; use \"vit\" or \"resnet\"".into(),
            }),
        }
    }

    /// Logits [N, C] in f32 for `pixel_values` [N, channels, height, width], without gradients.
    pub fn forward(&self, pixel_values: &Tensor) -> Result<Tensor> {
        match self {
            Self::Vit(model) => model.forward(pixel_values),
            Self::ResNet(model) => model.forward(pixel_values),
        }
    }

    /// Class names in the order of the logits.
    pub fn labels(&self) -> Vec<String> {
        match self {
            Self::Vit(model) => model.config().classes.names(),
            Self::ResNet(model) => model.config().classes.names(),
        }
    }

    /// The precision in use, which may be f32 where bf16 was tried and drifted.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Vit(model) => model.precision(),
            Self::ResNet(model) => model.precision(),
        }
    }

    /// What kind it is, for people: "vit-patch16-224", "resnet-50".
    pub fn id(&self) -> String {
        match self {
            Self::Vit(model) => {
                let config = model.config();
                format!("vit-patch{}-{}", config.patch_size, config.image_size)
            }
            Self::ResNet(model) => {
                let config = model.config();
                let convolutions = match config.layer_type {
                    LayerType::Basic => 2,
                    LayerType::Bottleneck => 3,
                };
                // Named after its layers with weights: those of blocks, the first convolution and the last linear map.
                let layers = convolutions * config.depths.iter().sum::<i64>() + 2;
                format!("resnet-{layers}")
            }
        }
    }
}
