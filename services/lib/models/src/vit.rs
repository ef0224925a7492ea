//! Vision transformer for image classification (Dosovitskiy et al. 2021), as transformers'
//! `ViTForImageClassification`: pre-norm blocks, a CLS token, learned positions, a classifier on the final CLS.
//!
//! The head is transformers' single linear map (`classifier.weight`, `classifier.bias`) or, where config.json has
//! `saga_head`, the one SAGA was described with: Linear, BatchNorm1d, GELU, Dropout, Linear, its keys those of a
//! `torch.nn.Sequential` put in the place of `model.classifier`: `classifier.0.*`, `classifier.1.*`, `classifier.4.*`.

mod config;
mod head;

pub use config::{Config, SagaHead};

use crate::error::Result;
use crate::layers::{
    LayerNorm, Linear, PatchProjection, attention, check_pixels, drop_path, dropout,
};
use crate::model::{Base, Model, max_difference};
use crate::weights::{Init, Scope, group};
use head::Head;
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

/// A pre-norm transformer block; keys below `vit.encoder.layer.{i}`.
struct Block {
    layernorm_before: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    layernorm_after: LayerNorm,
    intermediate: Linear,
    output: Linear,
    drop_path_rate: f64,
}

impl Block {
    fn new(scope: &Scope, config: &Config, index: i64) -> Result<Self> {
        let (width, inner, eps) = (
            config.hidden_size,
            config.intermediate_size,
            config.layer_norm_eps,
        );
        let linear =
            |name: &str, inputs, outputs| Linear::new(&scope.at(name), inputs, outputs, INIT);
        Ok(Self {
            layernorm_before: LayerNorm::new(&scope.at("layernorm_before"), width, eps)?,
            query: linear("attention.attention.query", width, width)?,
            key: linear("attention.attention.key", width, width)?,
            value: linear("attention.attention.value", width, width)?,
            attention_output: linear("attention.output.dense", width, width)?,
            layernorm_after: LayerNorm::new(&scope.at("layernorm_after"), width, eps)?,
            intermediate: linear("intermediate.dense", width, inner)?,
            output: linear("output.dense", inner, width)?,
            drop_path_rate: config.drop_path_rate * index as f64
                / (config.num_hidden_layers - 1).max(1) as f64,
        })
    }

    fn forward(&self, x: &Tensor, config: &Config, train: bool) -> Result<Tensor> {
        let x = x.f_add(&drop_path(
            self.attend(x, config, train)?,
            self.drop_path_rate,
            train,
        )?)?;
        let inner = config.hidden_act.forward(
            &self
                .intermediate
                .forward(&self.layernorm_after.forward(&x)?)?,
        )?;
        let branch = dropout(
            self.output.forward(&inner)?,
            config.hidden_dropout_prob,
            train,
        )?;
        Ok(x.f_add(&drop_path(branch, self.drop_path_rate, train)?)?)
    }

    fn attend(&self, x: &Tensor, config: &Config, train: bool) -> Result<Tensor> {
        let normed = self.layernorm_before.forward(x)?;
        let qkv = [
            self.query.forward(&normed)?,
            self.key.forward(&normed)?,
            self.value.forward(&normed)?,
        ];
        let rate = if train {
            config.attention_probs_dropout_prob
        } else {
            0.0
        };
        let mixed = attention(qkv.each_ref(), config.num_attention_heads, rate, false)?;
        dropout(
            self.attention_output.forward(&mixed)?,
            config.hidden_dropout_prob,
            train,
        )
    }
}

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
        self.classifier
            .forward(&self.features_t(pixel_values, train)?, train)
    }

    /// The final CLS token [N, hidden_size] in f32: what the head sees.
    pub fn features_t(&self, pixel_values: &Tensor, train: bool) -> Result<Tensor> {
        check_pixels(
            pixel_values,
            self.base.config.num_channels,
            self.base.config.image_size,
        )?;
        let pixels = pixel_values
            .f_to_device(self.base.weights.var_store().device())?
            .f_to_kind(self.base.precision.kind())?;
        let mut x = dropout(
            self.embeddings.forward(&pixels)?,
            self.base.config.hidden_dropout_prob,
            train,
        )?;
        for block in &self.layer {
            x = block.forward(&x, &self.base.config, train)?;
        }
        // Normalising only the CLS token equals normalising all and selecting it.
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
        let layer =
            (0..config.num_hidden_layers).map(|index| Block::new(&layers.at(index), config, index));
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

    fn base(&self) -> &Base<Config> {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base<Config> {
        &mut self.base
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
