//! Attention between the convolutions: pixels attend to each other and to a text, as diffusers' `Transformer2DModel` and
//! `BasicTransformerBlock`, or to each other alone, as its `Attention`; keys mirror theirs.

use super::layers::{GroupNorm, fused, image, init, linear, pointwise, tokens};
use super::resnet::Norms;
use crate::error::{ModelError, Result};
use crate::fused::Fused;
use crate::layers::{LayerNorm, Linear, attention};
use crate::weights::{Init, Scope};
use saga_kernels::Then;
use tch::Tensor;

const GROUP_NORM_EPS: f64 = 1e-6;
const LAYER_NORM_EPS: f64 = 1e-5;
/// How much wider a feed-forward branch is inside.
const EXPANSION: i64 = 4;

/// The sizes of a transformer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) channels: i64,
    pub(super) heads: i64,
    /// Width of the text's tokens.
    pub(super) context: i64,
    pub(super) groups: i64,
    /// Whether `proj_in` and `proj_out` are kept as linear maps and not as 1x1 convolutions.
    pub(super) linear: bool,
    /// About how many pixels pass at a time.
    pub(super) rows: i64,
}

pub(super) struct Transformer2DModel {
    norm: GroupNorm,
    proj_in: Fused,
    transformer_blocks: Vec<BasicTransformerBlock>,
    proj_out: Fused,
}

impl Transformer2DModel {
    pub(super) fn new(scope: &Scope, shape: Shape, depth: i64) -> Result<Self> {
        let Shape { channels, rows, .. } = shape;
        let project = |name: &str| match shape.linear {
            true => linear(&scope.at(name), channels, channels, rows),
            false => pointwise(&scope.at(name), channels, channels, rows),
        };
        let block = |index| {
            let scope = scope.at("transformer_blocks").at(index);
            BasicTransformerBlock::new(&scope, shape)
        };
        let norm = GroupNorm::new(&scope.at("norm"), shape.groups, channels, GROUP_NORM_EPS)?;
        Ok(Self {
            norm,
            proj_in: project("proj_in")?,
            transformer_blocks: (0..depth).map(block).collect::<Result<_>>()?,
            proj_out: project("proj_out")?,
        })
    }

    /// [N, channels, height, width] to the same; `context` [N, tokens, width].
    pub(super) fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let normed = tokens(&self.norm.forward(x)?)?;
        let mut inner = self.proj_in.forward(&normed, Then::Nothing)?;
        for block in &self.transformer_blocks {
            inner = block.forward(&inner, context)?;
        }
        image(&self.proj_out.forward(&inner, Then::Add(&tokens(x)?))?, x)
    }
}

struct BasicTransformerBlock {
    norm1: LayerNorm,
    attn1: SelfAttention,
    norm2: LayerNorm,
    attn2: CrossAttention,
    norm3: LayerNorm,
    ff: FeedForward,
}

impl BasicTransformerBlock {
    fn new(scope: &Scope, shape: Shape) -> Result<Self> {
        let norm = |name: &str| LayerNorm::new(&scope.at(name), shape.channels, LAYER_NORM_EPS);
        Ok(Self {
            norm1: norm("norm1")?,
            attn1: SelfAttention::new(
                &scope.at("attn1"),
                shape.channels,
                shape.heads,
                false,
                shape.rows,
            )?,
            norm2: norm("norm2")?,
            attn2: CrossAttention::new(&scope.at("attn2"), shape)?,
            norm3: norm("norm3")?,
            ff: FeedForward::new(&scope.at("ff.net"), shape)?,
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let x = self.attn1.forward(&self.norm1.forward(x)?, x)?;
        let x = self.attn2.forward(&self.norm2.forward(&x)?, context, &x)?;
        self.ff.forward(&self.norm3.forward(&x)?, &x)
    }
}

fn projection(scope: &Scope, name: &str, inputs: i64, outputs: i64, bias: bool) -> Result<Linear> {
    let scope = scope.at(name);
    match bias {
        true => Linear::new(&scope, inputs, outputs, init(inputs)),
        false => Linear::without_bias(&scope, inputs, outputs, init(inputs)),
    }
}

/// Every pixel asks all of them: query, key and value are one map.
struct SelfAttention {
    query_key_value: Fused,
    to_out: Fused,
    heads: i64,
}

impl SelfAttention {
    /// Keys `to_q`, `to_k`, `to_v` (with a bias where `bias`) and `to_out.0`.
    fn new(scope: &Scope, width: i64, heads: i64, bias: bool, rows: i64) -> Result<Self> {
        let project = |name: &str| projection(scope, name, width, width, bias);
        let (query, key, value) = (project("to_q")?, project("to_k")?, project("to_v")?);
        Ok(Self {
            query_key_value: fused(&[&query, &key, &value], rows)?,
            to_out: linear(&scope.at("to_out.0"), width, width, rows)?,
            heads,
        })
    }

    /// `x` [N, tokens, width] is asked, and what it answers added to `residual`.
    fn forward(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let joint = self.query_key_value.forward(x, Then::Nothing)?;
        let parts = joint.f_chunk(3, -1)?;
        let [query, key, value] = parts.as_slice() else {
            return Err(ModelError::Input("an attention of no width".into()));
        };
        let mixed = attention([query, key, value], self.heads, 0.0, false)?;
        self.to_out.forward(&mixed, Then::Add(residual))
    }
}

/// The pixels of an image ask each other, and what they answer is added: diffusers' `Attention` of blocks that read no text.
/// Keys `group_norm` and those of [`SelfAttention`].
pub(super) struct ImageAttention {
    group_norm: GroupNorm,
    attention: SelfAttention,
}

impl ImageAttention {
    pub(super) fn new(
        scope: &Scope,
        channels: i64,
        heads: i64,
        norms: Norms,
        rows: i64,
    ) -> Result<Self> {
        let norm = scope.at("group_norm");
        Ok(Self {
            group_norm: GroupNorm::new(&norm, norms.groups, channels, norms.eps)?,
            attention: SelfAttention::new(scope, channels, heads, true, rows)?,
        })
    }

    /// [N, channels, height, width] to the same.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normed = tokens(&self.group_norm.forward(x)?)?;
        image(&self.attention.forward(&normed, &tokens(x)?)?, x)
    }
}

/// Every pixel asks the tokens of a text.
struct CrossAttention {
    to_q: Fused,
    key_value: Fused,
    to_out: Fused,
    heads: i64,
}

impl CrossAttention {
    fn new(scope: &Scope, shape: Shape) -> Result<Self> {
        let Shape {
            channels,
            context,
            rows,
            heads,
            ..
        } = shape;
        let query = projection(scope, "to_q", channels, channels, false)?;
        let key = projection(scope, "to_k", context, channels, false)?;
        let value = projection(scope, "to_v", context, channels, false)?;
        Ok(Self {
            to_q: fused(&[&query], rows)?,
            key_value: fused(&[&key, &value], rows)?,
            to_out: linear(&scope.at("to_out.0"), channels, channels, rows)?,
            heads,
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let query = self.to_q.forward(x, Then::Nothing)?;
        let pair = self
            .key_value
            .forward(context, Then::Nothing)?
            .f_chunk(2, -1)?;
        let [key, value] = pair.as_slice() else {
            return Err(ModelError::Input("an attention of no width".into()));
        };
        let mixed = attention([&query, key, value], self.heads, 0.0, false)?;
        self.to_out.forward(&mixed, Then::Add(residual))
    }
}

/// A gated feed-forward branch (GEGLU, Shazeer 2020); keys `0.proj`, whose rows are the value's and then the gate's, and `2`.
struct FeedForward {
    value: Fused,
    gate: Fused,
    output: Fused,
}

impl FeedForward {
    fn new(scope: &Scope, shape: Shape) -> Result<Self> {
        let Shape { channels, rows, .. } = shape;
        let inner = EXPANSION * channels;
        let projection = scope.at("0.proj");
        let weight = projection.parameter("weight", &[2 * inner, channels], init(channels))?;
        let bias = projection.parameter("bias", &[2 * inner], Init::Const(0.0))?;
        let half = |index: i64| -> Result<Fused> {
            let half = Linear {
                weight: weight.f_narrow(0, index * inner, inner)?,
                bias: Some(bias.f_narrow(0, index * inner, inner)?),
            };
            fused(&[&half], rows)
        };
        Ok(Self {
            value: half(0)?,
            gate: half(1)?,
            output: linear(&scope.at("2"), inner, channels, rows)?,
        })
    }

    fn forward(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let mut inner = self.gate.forward(x, Then::Gelu)?;
        let inner = inner.f_mul_(&self.value.forward(x, Then::Nothing)?)?;
        self.output.forward(&inner, Then::Add(residual))
    }
}
