//! CLIP's two towers, of one kind of transformer block.

use super::{TextConfig, VisionConfig};
use crate::error::Result;
use crate::fused::Sealing;
use crate::layers::{LayerNorm, PatchProjection};
use crate::model::SEALED_FOR;
use crate::transformer::{self, Block, Inits, Names, Shape};
use crate::weights::{Init, Scope};
use saga_kernels::Ranges;
use tch::{Kind, Tensor};

/// Keys below `{text,vision}_model.encoder.layers.{i}`.
pub const NAMES: Names = Names {
    norm1: "layer_norm1",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.out_proj",
    norm2: "layer_norm2",
    up: "mlp.fc1",
    down: "mlp.fc2",
};

fn text_shape(config: &TextConfig) -> Shape {
    Shape {
        width: config.hidden_size,
        inner: config.intermediate_size,
        heads: config.num_attention_heads,
        activation: config.hidden_act,
        eps: config.layer_norm_eps,
        causal: true,
    }
}

fn vision_shape(config: &VisionConfig) -> Shape {
    Shape {
        width: config.hidden_size,
        inner: config.intermediate_size,
        heads: config.num_attention_heads,
        activation: config.hidden_act,
        eps: config.layer_norm_eps,
        causal: false,
    }
}

/// Initial deviations are CLIP's own, which shrink with width and depth.
fn encoder(scope: &Scope, shape: Shape, depth: i64) -> Result<Vec<Block>> {
    let scope = scope.at("encoder.layers");
    let output = (shape.width as f64).powf(-0.5);
    let inits = Inits {
        input: Init::Normal(output * (2.0 * depth as f64).powf(-0.5)),
        output: Init::Normal(output),
        up: Init::Normal((2.0 * shape.width as f64).powf(-0.5)),
    };
    (0..depth)
        .map(|index| Block::new(&scope.at(index), &NAMES, shape, inits))
        .collect()
}

fn through(blocks: &[Block], x: Tensor) -> Result<Tensor> {
    blocks
        .iter()
        .try_fold(x, |x, block| block.forward(&x, None))
}

fn norm(scope: &Scope, name: &str, shape: Shape) -> Result<LayerNorm> {
    LayerNorm::new(&scope.at(name), shape.width, shape.eps)
}

/// Keys below `vision_model`; `pre_layrnorm` is spelt as in every checkpoint.
pub(super) struct VisionModel {
    class_embedding: Tensor,
    patch_embedding: PatchProjection,
    position_embedding: Tensor,
    pre_layrnorm: LayerNorm,
    encoder: Vec<Block>,
    post_layernorm: LayerNorm,
}

impl VisionModel {
    pub(super) fn new(scope: &Scope, config: &VisionConfig) -> Result<Self> {
        let (width, patch) = (config.hidden_size, config.patch_size);
        let shape = vision_shape(config);
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
            pre_layrnorm: norm(scope, "pre_layrnorm", shape)?,
            post_layernorm: norm(scope, "post_layernorm", shape)?,
            encoder: encoder(scope, shape, config.num_hidden_layers)?,
        })
    }

    pub(super) fn seal(&mut self, sealing: &mut Sealing) -> Result<()> {
        let tokens = self.position_embedding.size2()?.0;
        transformer::seal(&mut self.encoder, SEALED_FOR * tokens, true, sealing)
    }

    pub(super) fn take_seen(&self) -> Vec<Ranges> {
        transformer::take_seen(&self.encoder)
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
        let x = through(&self.encoder, self.pre_layrnorm.forward(&x)?)?;
        self.post_layernorm.forward(&x.f_select(1, 0)?)
    }
}

/// Keys below `text_model`.
pub(crate) struct TextModel {
    token_embedding: Tensor,
    position_embedding: Tensor,
    encoder: Vec<Block>,
    final_layer_norm: LayerNorm,
}

impl TextModel {
    pub(crate) fn new(scope: &Scope, config: &TextConfig) -> Result<Self> {
        let shape = text_shape(config);
        let table = |name: &str, rows| {
            scope
                .at("embeddings")
                .at(name)
                .parameter("weight", &[rows, config.hidden_size], INIT)
        };
        Ok(Self {
            token_embedding: table("token_embedding", config.vocab_size)?,
            position_embedding: table("position_embedding", config.max_position_embeddings)?,
            final_layer_norm: norm(scope, "final_layer_norm", shape)?,
            encoder: encoder(scope, shape, config.num_hidden_layers)?,
        })
    }

    pub(crate) fn seal(&mut self) -> Result<()> {
        let tokens = self.position_embedding.size2()?.0;
        transformer::seal(
            &mut self.encoder,
            SEALED_FOR * tokens,
            false,
            &mut Sealing::Float,
        )
    }

    /// Outputs [N, tokens, width] of the last block for `ids` [N, tokens].
    fn encode(&self, ids: &Tensor, kind: Kind) -> Result<Tensor> {
        let positions = self.position_embedding.f_narrow(0, 0, ids.size2()?.1)?;
        let x =
            Tensor::f_embedding(&self.token_embedding, ids, -1, false, false)?.f_add(&positions)?;
        through(&self.encoder, x.f_to_kind(kind)?)
    }

    /// Normalised outputs [N, tokens, width], transformers' `last_hidden_state`, for `ids` [N, tokens].
    pub(crate) fn last_hidden_state(&self, ids: &Tensor, kind: Kind) -> Result<Tensor> {
        self.final_layer_norm.forward(&self.encode(ids, kind)?)
    }

    /// Pooled output [N, width] of `ids` [N, tokens], read at position `ends` [N] of each.
    pub(super) fn forward(&self, ids: &Tensor, ends: &Tensor, kind: Kind) -> Result<Tensor> {
        let x = self.encode(ids, kind)?;
        let (batch, _, width) = x.size3()?;
        let index = ends
            .f_reshape([batch, 1, 1])?
            .f_expand([batch, 1, width], false)?;
        self.final_layer_norm
            .forward(&x.f_gather(1, &index, false)?.f_squeeze_dim(1)?)
    }
}

/// transformers' deviation of embeddings with an `initializer_factor` of one.
const INIT: Init = Init::Normal(0.02);
