//! Vision transformer for image classification (Dosovitskiy et al. 2021), as transformers'
//! `ViTForImageClassification`: pre-norm blocks, a CLS token, learned positions, a classifier on the final CLS.
//!
//! The head is transformers' single linear map (`classifier.weight`, `classifier.bias`) or, where config.json has
//! `saga_head`, the one SAGA was described with: Linear, BatchNorm1d, GELU, Dropout, Linear, its keys those of a
//! `torch.nn.Sequential` put in the place of `model.classifier`: `classifier.0.*`, `classifier.1.*`, `classifier.4.*`.

mod config;
mod explain;
mod head;

pub use config::{Config, SagaHead};

use crate::checkpoint::Architecture;
use crate::error::Result;
use crate::fused::Sealing;
use crate::layers::{LayerNorm, PatchProjection, check_pixels, dropout};
use crate::model::{Base, Model, SEALED_FOR, max_difference};
use crate::transformer::{self, Block, Drop, Inits, Names, Shape};
use crate::weights::{Init, Scope, group};
use head::Head;
use saga_kernels::Ranges;
use tch::{Kind, Tensor};

struct Embeddings {
    cls_token: Tensor,
    position_embeddings: Tensor,
    patch_embeddings: PatchProjection,
}

impl Embeddings {
    fn new(scope: &Scope, config: &Config) -> Result<Self> {
        let width = config.hidden_size;
        let patches = (config.image_size / config.patch_size).pow(2);
        Ok(Self {
            cls_token: scope.parameter("cls_token", &[1, 1, width], INIT)?,
            position_embeddings: scope.parameter(
                "position_embeddings",
                &[1, patches + 1, width],
                INIT,
            )?,
            patch_embeddings: PatchProjection::new(
                &scope.at("patch_embeddings.projection"),
                config.num_channels,
                width,
                config.patch_size,
                true,
                INIT,
            )?,
        })
    }

    fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let patches = self.patch_embeddings.forward(pixels)?;
        let (batch, _, width) = patches.size3()?;
        let kind = patches.f_kind()?;
        let cls = self
            .cls_token
            .f_to_kind(kind)?
            .f_expand([batch, 1, width], false)?;
        Ok(Tensor::f_cat(&[cls, patches], 1)?.f_add(&self.position_embeddings.f_to_kind(kind)?)?)
    }
}

/// Keys below `vit.encoder.layer.{i}`.
pub const NAMES: Names = Names {
    norm1: "layernorm_before",
    query: "attention.attention.query",
    key: "attention.attention.key",
    value: "attention.attention.value",
    output: "attention.output.dense",
    norm2: "layernorm_after",
    up: "intermediate.dense",
    down: "output.dense",
};

/// transformers' `initializer_range`.
const INIT: Init = Init::Normal(0.02);

/// A ViT classifier with its weights.
pub struct VitClassifier {
    base: Base<Config>,
    embeddings: Embeddings,
    layer: Vec<Block>,
    layernorm: LayerNorm,
    classifier: Head,
}

impl VitClassifier {
    /// Logits [N, C] in f32 for `pixel_values` [N, channels, side, side], without gradients.
    pub fn forward(&self, pixel_values: &Tensor) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        self.forward_t(pixel_values, false)
    }

    /// Logits as [`Self::forward`], with gradients; `train` turns dropout, stochastic depth and batch statistics on.
    pub fn forward_t(&self, pixel_values: &Tensor, train: bool) -> Result<Tensor> {
        self.head_t(&self.features_t(pixel_values, train)?, train)
    }

    /// Logits of what [`Self::features_t`] gave.
    pub fn head_t(&self, features: &Tensor, train: bool) -> Result<Tensor> {
        self.classifier.forward(features, train)
    }

    /// Later blocks are dropped more often.
    fn drop(&self, index: usize) -> Drop {
        let config = &self.base.config;
        let depth = (config.num_hidden_layers - 1).max(1) as f64;
        Drop {
            attention: config.attention_probs_dropout_prob,
            hidden: config.hidden_dropout_prob,
            path: config.drop_path_rate * index as f64 / depth,
        }
    }

    /// The final CLS token [N, hidden_size] in f32: what the head sees.
    pub fn features_t(&self, pixel_values: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = dropout(
            self.embedded(pixel_values)?,
            self.base.config.hidden_dropout_prob,
            train,
        )?;
        for (index, block) in self.layer.iter().enumerate() {
            x = block.forward(&x, train.then(|| self.drop(index)))?;
        }
        self.final_cls(&x)
    }

    /// The tokens that enter the first block, [N, tokens, hidden_size].
    fn embedded(&self, pixel_values: &Tensor) -> Result<Tensor> {
        check_pixels(
            pixel_values,
            self.base.config.num_channels,
            self.base.config.image_size,
        )?;
        let pixels = pixel_values
            .f_to_device(self.base.weights.var_store().device())?
            .f_to_kind(self.base.precision.kind())?;
        self.embeddings.forward(&pixels)
    }

    /// Of what leaves the last block. Normalising only the CLS token equals normalising all and selecting it.
    fn final_cls(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self
            .layernorm
            .forward(&x.f_select(1, 0)?)?
            .f_to_kind(Kind::Float)?)
    }
}

impl Model for VitClassifier {
    type Config = Config;

    /// The head.
    const KEPT_F32: &'static str = "classifier.";
    /// Of a probability.
    const MAX_DRIFT: f64 = 0.02;
    const OUTPUT: &'static str = "probabilities";

    fn build(base: Base<Config>) -> Result<Self> {
        let Base {
            config, weights, ..
        } = &base;
        config.check()?;
        let vit = weights.root().at("vit");
        let layers = vit.at("encoder.layer");
        let shape = Shape {
            width: config.hidden_size,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            eps: config.layer_norm_eps,
            causal: false,
        };
        let inits = Inits {
            input: INIT,
            output: INIT,
            up: INIT,
        };
        let layer = (0..config.num_hidden_layers)
            .map(|index| Block::new(&layers.at(index), &NAMES, shape, inits));
        Ok(Self {
            embeddings: Embeddings::new(&vit.at("embeddings"), config)?,
            layer: layer.collect::<Result<_>>()?,
            layernorm: LayerNorm::new(
                &vit.at("layernorm"),
                config.hidden_size,
                config.layer_norm_eps,
            )?,
            classifier: Head::new(
                &weights.root().in_group(group::HEAD).at("classifier"),
                config,
            )?,
            base,
        })
    }

    fn config_of(architecture: &Architecture) -> Option<Config> {
        match architecture {
            Architecture::Vit(config) => Some(config.clone()),
            _ => None,
        }
    }

    fn base(&self) -> &Base<Config> {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base<Config> {
        &mut self.base
    }

    fn seal(&mut self, sealing: &mut Sealing) -> Result<()> {
        let config = &self.base.config;
        let tokens = (config.image_size / config.patch_size).pow(2) + 1;
        transformer::seal(&mut self.layer, SEALED_FOR * tokens, true, sealing)
    }

    fn take_seen(&self) -> Vec<Ranges> {
        transformer::take_seen(&self.layer)
    }

    fn image_shape(&self) -> (i64, i64) {
        (self.base.config.num_channels, self.base.config.image_size)
    }

    fn canary_output(&self, pixel_values: &Tensor) -> Result<Tensor> {
        Ok(self.forward(pixel_values)?.f_softmax(-1, Kind::Float)?)
    }

    fn drift(reference: &Tensor, output: &Tensor) -> Result<f64> {
        max_difference(reference, output)
    }
}
