//! Vision transformer for image classification (Dosovitskiy et al. 2021), as transformers'
//! `ViTForImageClassification`: pre-norm blocks, a CLS token, learned positions, a classifier on the final CLS.
//!
//! The head is transformers' single linear map (`classifier.weight`, `classifier.bias`) or, where config.json has
//! `saga_head`, the one SAGA was described with: Linear, BatchNorm1d, GELU, Dropout, Linear, its keys those of a
//! `torch.nn.Sequential` put in the place of `model.classifier`: `classifier.0.*`, `classifier.1.*`, `classifier.4.*`.

mod config;
mod head;

pub use config::{Config, SagaHead};

use crate::canary::{canary, max_difference};
use crate::directory;
use crate::error::{ModelError, Result};
use crate::layers::{
    LayerNorm, Linear, PatchProjection, attention, check_pixels, drop_path, dropout,
};
use crate::runtime::{Precision, Runtime};
use crate::weights::{Init, Scope, Weights, group};
use head::Head;
use std::path::Path;
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

/// Largest change of a probability that bf16 may cause on the canary batch.
pub const MAX_PROBABILITY_DRIFT: f64 = 0.02;

/// transformers' `initializer_range`.
const INIT: Init = Init::Normal(0.02);

/// A ViT classifier with its weights.
pub struct VitClassifier {
    config: Config,
    weights: Weights,
    precision: Precision,
    embeddings: Embeddings,
    layer: Vec<Block>,
    layernorm: LayerNorm,
    classifier: Head,
}

impl VitClassifier {
    /// A model to train, its weights drawn from `seed`. Masters stay f32 whatever the precision.
    pub fn new(config: Config, runtime: Runtime, seed: u64) -> Result<Self> {
        Self::build(
            config,
            Weights::random(runtime.device, seed),
            runtime.precision,
        )
    }

    /// A model to train further, from a Hugging Face model directory.
    pub fn load_to_train(dir: &Path, runtime: Runtime) -> Result<Self> {
        let config = directory::read_config(dir)?;
        let mut model = Self::build(config, Weights::blank(runtime.device), runtime.precision)?;
        model.weights.load(&dir.join(directory::WEIGHTS))?;
        Ok(model)
    }

    /// A model to serve, from a Hugging Face model directory: gradients off, weights converted once.
    ///
    /// # Errors
    /// As [`Weights::load`]; [`ModelError::Precision`] where bf16 was asked for and drifts from f32.
    pub fn load(dir: &Path, runtime: Runtime) -> Result<Self> {
        let mut model = Self::load_to_train(
            dir,
            Runtime {
                precision: Precision::F32,
                ..runtime
            },
        )?;
        model.weights.freeze();
        if runtime.precision == Precision::Bf16 {
            model.enter_bf16(runtime, dir)?;
        }
        Ok(model)
    }

    fn build(config: Config, weights: Weights, precision: Precision) -> Result<Self> {
        config.check()?;
        let vit = weights.root().at("vit");
        let layers = vit.at("encoder.layer");
        let layer = (0..config.num_hidden_layers)
            .map(|index| Block::new(&layers.at(index), &config, index));
        Ok(Self {
            embeddings: Embeddings::new(&vit.at("embeddings"), &config)?,
            layer: layer.collect::<Result<_>>()?,
            layernorm: LayerNorm::new(
                &vit.at("layernorm"),
                config.hidden_size,
                config.layer_norm_eps,
            )?,
            classifier: Head::new(
                &weights.root().in_group(group::HEAD).at("classifier"),
                &config,
            )?,
            config,
            precision,
            weights,
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    pub fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    /// The precision in use, which may be f32 where bf16 was tried and drifted.
    pub fn precision(&self) -> Precision {
        self.precision
    }

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
            self.config.num_channels,
            self.config.image_size,
        )?;
        let pixels = pixel_values
            .f_to_device(self.weights.var_store().device())?
            .f_to_kind(self.precision.kind())?;
        let mut x = dropout(
            self.embeddings.forward(&pixels)?,
            self.config.hidden_dropout_prob,
            train,
        )?;
        for block in &self.layer {
            x = block.forward(&x, &self.config, train)?;
        }
        // Normalising only the CLS token equals normalising all and selecting it.
        Ok(self
            .layernorm
            .forward(&x.f_select(1, 0)?)?
            .f_to_kind(Kind::Float)?)
    }

    /// Converts the body to bf16 unless a canary batch shows that its probabilities drift; the head stays f32.
    fn enter_bf16(&mut self, runtime: Runtime, dir: &Path) -> Result<()> {
        let pixels = canary(self.config.num_channels, self.config.image_size)?;
        let reference = self.forward(&pixels)?.f_softmax(-1, Kind::Float)?;
        self.precision = Precision::Bf16;
        self.weights.cast(Kind::BFloat16, "classifier.")?;
        let drift = max_difference(
            &reference,
            &self.forward(&pixels)?.f_softmax(-1, Kind::Float)?,
        )?;
        // NaN counts as drift.
        if drift <= MAX_PROBABILITY_DRIFT {
            tracing::debug!(drift, "bf16 agrees with f32");
            return Ok(());
        }
        if !runtime.may_fall_back {
            let why = format!(
                "probabilities drift {drift:.4} from f32, over {MAX_PROBABILITY_DRIFT}; use f32"
            );
            return Err(ModelError::Precision {
                precision: "bf16".into(),
                why,
            });
        }
        tracing::warn!(drift, "bf16 drifts from f32; serving in f32");
        self.precision = Precision::F32;
        self.weights.cast(Kind::Float, "classifier.")?;
        self.weights.load(&dir.join(directory::WEIGHTS))
    }
}
