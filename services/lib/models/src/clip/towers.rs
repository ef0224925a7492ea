//! CLIP's two towers, of one kind of transformer block.

use super::{TextConfig, VisionConfig};
use crate::error::Result;
use crate::layers::{Activation, LayerNorm, Linear, PatchProjection, attention};
use crate::weights::{Init, Scope};
use tch::{Kind, Tensor};

/// What the blocks of one tower have in common.
struct Tower {
    width: i64,
    inner: i64,
    depth: i64,
    heads: i64,
    activation: Activation,
    eps: f64,
    causal: bool,
}

impl Tower {
    fn text(config: &TextConfig) -> Self {
        Self {
            width: config.hidden_size,
            inner: config.intermediate_size,
            depth: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            eps: config.layer_norm_eps,
            causal: true,
        }
    }

    fn vision(config: &VisionConfig) -> Self {
        Self {
            width: config.hidden_size,
            inner: config.intermediate_size,
            depth: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            eps: config.layer_norm_eps,
            causal: false,
        }
    }

    fn norm(&self, scope: &Scope, name: &str) -> Result<LayerNorm> {
        LayerNorm::new(&scope.at(name), self.width, self.eps)
    }
}

/// A pre-norm transformer block; keys below `{text,vision}_model.encoder.layers.{i}`.
struct Block {
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    /// Initial deviations are CLIP's own, which shrink with width and depth.
    fn new(scope: &Scope, tower: &Tower) -> Result<Self> {
        let (width, inner) = (tower.width, tower.inner);
        let output = (width as f64).powf(-0.5);
        let input = output * (2.0 * tower.depth as f64).powf(-0.5);
        let linear = |name: &str, from, to, deviation| {
            Linear::new(&scope.at(name), from, to, Init::Normal(deviation))
        };
        Ok(Self {
            layer_norm1: tower.norm(scope, "layer_norm1")?,
            q_proj: linear("self_attn.q_proj", width, width, input)?,
            k_proj: linear("self_attn.k_proj", width, width, input)?,
            v_proj: linear("self_attn.v_proj", width, width, input)?,
            out_proj: linear("self_attn.out_proj", width, width, output)?,
            layer_norm2: tower.norm(scope, "layer_norm2")?,
            fc1: linear("mlp.fc1", width, inner, (2.0 * width as f64).powf(-0.5))?,
            fc2: linear("mlp.fc2", inner, width, input)?,
        })
    }

    fn forward(&self, x: &Tensor, tower: &Tower) -> Result<Tensor> {
        let normed = self.layer_norm1.forward(x)?;
        let qkv = [
            self.q_proj.forward(&normed)?,
            self.k_proj.forward(&normed)?,
            self.v_proj.forward(&normed)?,
        ];
        let x = x.f_add(&self.out_proj.forward(&attention(
            qkv.each_ref(),
            tower.heads,
            0.0,
            tower.causal,
        )?)?)?;
        let inner = tower
            .activation
            .forward(&self.fc1.forward(&self.layer_norm2.forward(&x)?)?)?;
        Ok(x.f_add(&self.fc2.forward(&inner)?)?)
    }
}

struct Encoder {
    tower: Tower,
    layers: Vec<Block>,
}

impl Encoder {
    fn new(scope: &Scope, tower: Tower) -> Result<Self> {
        let scope = scope.at("encoder.layers");
        let layers = (0..tower.depth)
            .map(|index| Block::new(&scope.at(index), &tower))
            .collect::<Result<_>>()?;
        Ok(Self { tower, layers })
    }

    fn forward(&self, x: Tensor) -> Result<Tensor> {
        self.layers
            .iter()
            .try_fold(x, |x, layer| layer.forward(&x, &self.tower))
    }
}

/// Keys below `vision_model`; `pre_layrnorm` is spelt as in every checkpoint.
pub(super) struct VisionModel {
    class_embedding: Tensor,
    patch_embedding: PatchProjection,
    position_embedding: Tensor,
    pre_layrnorm: LayerNorm,
    encoder: Encoder,
    post_layernorm: LayerNorm,
}

impl VisionModel {
    pub(super) fn new(scope: &Scope, config: &VisionConfig) -> Result<Self> {
        let (width, patch) = (config.hidden_size, config.patch_size);
        let tower = Tower::vision(config);
        let embeddings = scope.at("embeddings");
        let positions = (config.image_size / patch).pow(2) + 1;
        let patch_scope = embeddings.at("patch_embedding");
        let class = Init::Normal((width as f64).powf(-0.5));
        Ok(Self {
            class_embedding: embeddings.parameter("class_embedding", &[width], class)?,
            patch_embedding: PatchProjection::new(
                &patch_scope,
                config.num_channels,
                width,
                patch,
                false,
                INIT,
            )?,
            position_embedding: embeddings.at("position_embedding").parameter(
                "weight",
                &[positions, width],
                INIT,
            )?,
            pre_layrnorm: tower.norm(scope, "pre_layrnorm")?,
            post_layernorm: tower.norm(scope, "post_layernorm")?,
            encoder: Encoder::new(scope, tower)?,
        })
    }

    /// Pooled output [N, width].
    pub(super) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let patches = self.patch_embedding.forward(pixels)?;
        let (batch, _, width) = patches.size3()?;
        let kind = patches.f_kind()?;
        let class = self
            .class_embedding
            .f_to_kind(kind)?
            .f_expand([batch, 1, width], false)?;
        let x = Tensor::f_cat(&[class, patches], 1)?
            .f_add(&self.position_embedding.f_to_kind(kind)?)?;
        let x = self.encoder.forward(self.pre_layrnorm.forward(&x)?)?;
        self.post_layernorm.forward(&x.f_select(1, 0)?)
    }
}

/// Keys below `text_model`.
pub(super) struct TextModel {
    token_embedding: Tensor,
    position_embedding: Tensor,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
}

impl TextModel {
    pub(super) fn new(scope: &Scope, config: &TextConfig) -> Result<Self> {
        let tower = Tower::text(config);
        let table = |name: &str, rows| {
            scope
                .at("embeddings")
                .at(name)
                .parameter("weight", &[rows, config.hidden_size], INIT)
        };
        Ok(Self {
            token_embedding: table("token_embedding", config.vocab_size)?,
            position_embedding: table("position_embedding", config.max_position_embeddings)?,
            final_layer_norm: tower.norm(scope, "final_layer_norm")?,
            encoder: Encoder::new(scope, tower)?,
        })
    }

    /// Pooled output [N, width] of `ids` [N, tokens], read at position `ends` [N] of each.
    pub(super) fn forward(&self, ids: &Tensor, ends: &Tensor, kind: Kind) -> Result<Tensor> {
        let (batch, tokens) = ids.size2()?;
        let positions = self.position_embedding.f_narrow(0, 0, tokens)?;
        let x =
            Tensor::f_embedding(&self.token_embedding, ids, -1, false, false)?.f_add(&positions)?;
        let x = self.encoder.forward(x.f_to_kind(kind)?)?;
        let width = x.size3()?.2;
        let index = ends
            .f_reshape([batch, 1, 1])?
            .f_expand([batch, 1, width], false)?;
        self.final_layer_norm
            .forward(&x.f_gather(1, &index, false)?.f_squeeze_dim(1)?)
    }
}

/// transformers' deviation of embeddings with an `initializer_factor` of one.
const INIT: Init = Init::Normal(0.02);
