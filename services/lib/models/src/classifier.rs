//! Image classifiers of either kind, for those who only want logits, or what explains them.

use crate::checkpoint::{Architecture, Checkpoint};
use crate::error::{ModelError, Result};
use crate::model::{Model as _, frozen};
use crate::resnet::{LayerType, ResNetClassifier};
use crate::runtime::{Precision, Runtime};
use crate::vit::VitClassifier;
use tch::{Device, Kind, Tensor};

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
            Architecture::Clip(_) => Err(no_classifier()),
        }
    }

    /// A classifier that can be asked for gradients and attention as well: in f32, operator by operator, and so slower.
    ///
    /// # Errors
    /// As [`Self::from_checkpoint`].
    pub fn to_explain(checkpoint: &Checkpoint, device: Device) -> Result<Self> {
        let runtime = Runtime {
            device,
            ..Runtime::REFERENCE
        };
        match checkpoint.architecture {
            Architecture::Vit(_) => frozen(checkpoint, runtime).map(Self::Vit),
            Architecture::ResNet(_) => frozen(checkpoint, runtime).map(Self::ResNet),
            Architecture::Clip(_) => Err(no_classifier()),
        }
    }

    /// Logits [N, C] in f32 for `pixel_values` [N, channels, height, width], without gradients.
    pub fn forward(&self, pixel_values: &Tensor) -> Result<Tensor> {
        match self {
            Self::Vit(model) => model.forward(pixel_values),
            Self::ResNet(model) => model.forward(pixel_values),
        }
    }

    /// Logits as [`Self::forward`], and what they were computed from: the features [N, width] in f32 that enter the head's
    /// first linear map.
    pub fn forward_with_features(&self, pixel_values: &Tensor) -> Result<(Tensor, Tensor)> {
        let _guard = tch::no_grad_guard();
        Ok(match self {
            Self::Vit(model) => {
                let features = model.features_t(pixel_values, false)?;
                (model.head_t(&features, false)?, features)
            }
            Self::ResNet(model) => {
                let features = model.features_t(pixel_values, false)?;
                (model.head_t(&features)?, features)
            }
        })
    }

    /// The activations that class activation maps are made of, and the gradient of the logit of `class` with respect to them: both
    /// [N, channels, rows, columns], of a ViT the first norm of its last block without the CLS token, of a ResNet what
    /// leaves its last stage.
    ///
    /// # Errors
    /// [`ModelError::Input`] for a ViT that was loaded to serve.
    pub fn activations(&self, pixel_values: &Tensor, class: i64) -> Result<[Tensor; 2]> {
        match self {
            Self::Vit(model) => model.activations(pixel_values, class),
            Self::ResNet(model) => model.activations(pixel_values, class),
        }
    }

    /// Attention of every block, first to last, [N, heads, tokens, tokens], the CLS token first; none of a ResNet.
    ///
    /// # Errors
    /// As [`Self::activations`].
    pub fn attention_maps(&self, pixel_values: &Tensor) -> Result<Vec<Tensor>> {
        match self {
            Self::Vit(model) => model.attention_maps(pixel_values),
            Self::ResNet(_) => Ok(Vec::new()),
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

fn no_classifier() -> ModelError {
    ModelError::Config {
        key: "model_type",
        why: "\"clip\" is no classifier; use \"vit\" or \"resnet\"".into(),
    }
}

/// Of the logit of `class`, summed over the batch, with respect to `leaf`.
pub(crate) fn gradient(logits: &Tensor, class: i64, leaf: &Tensor) -> Result<Tensor> {
    let logit = logits.f_select(1, class)?.f_sum(Kind::Float)?;
    Tensor::f_run_backward(&[logit], &[leaf], false, false)?
        .pop()
        .ok_or_else(|| ModelError::Input("nothing to take the gradient of".into()))
}
