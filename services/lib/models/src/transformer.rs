//! The pre-norm transformer block that ViT and both towers of CLIP are made of.
//!
//! Training takes it operator by operator. Serving [`seals`](Block::seal) it: query, key and value become one linear map, and on
//! the CPU each linear map one oneDNN kernel with the activation or the residual sum that follows it. What was tried for
//! ViT-B/16 in bf16 on two cores with AMX, eight images, each step compared with the one before in one run:
//!
//! | step | ms an image |
//! |---|---|
//! | operator by operator | 37.2 |
//! | joint query, key and value; fused and prepacked linear maps | 28.7 |
//! | GELU by tanh instead of the error function | 30.5, not kept |
//! | attention as two products and a softmax instead of flash attention | 8.1 to 9.2 for 6.7, not kept |
//! | attention of 208 instead of 197 rows, padded | 6.5 for 6.7, not kept |
//! | attention on AMX by a kernel of our own, alone | 2.6 for 6.0 |

use crate::error::{ModelError, Result};
use crate::fused::{Fused, Sealing};
use crate::layers::{
    Activation, LayerNorm, Linear, QUICK_GELU, attention, attention_map, drop_path, dropout,
};
use crate::weights::{Init, Scope};
use saga_kernels::{Ranges, Then};
use tch::Tensor;

/// What the blocks of one transformer have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) width: i64,
    /// Width between the two linear maps of the feed-forward branch.
    pub(crate) inner: i64,
    pub(crate) heads: i64,
    pub(crate) activation: Activation,
    pub(crate) eps: f64,
    pub(crate) causal: bool,
}

/// A checkpoint's names of a block's parts.
pub struct Names {
    pub norm1: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub output: &'static str,
    pub norm2: &'static str,
    pub up: &'static str,
    pub down: &'static str,
}

/// How a new block's matrices start.
#[derive(Clone, Copy)]
pub(crate) struct Inits {
    /// Query, key, value and the end of the feed-forward branch.
    pub(crate) input: Init,
    pub(crate) output: Init,
    pub(crate) up: Init,
}

/// Probabilities of dropping in training.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Drop {
    pub(crate) attention: f64,
    pub(crate) hidden: f64,
    /// Of both branches of a whole sample.
    pub(crate) path: f64,
}

/// A block.
pub(crate) struct Block {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    shape: Shape,
    sealed: Option<Sealed>,
}

/// The same linear maps for serving alone.
struct Sealed {
    attend: Attend,
    output: Fused,
    up: Fused,
    down: Fused,
}

/// Who asks whom in attention.
enum Attend {
    /// Every token all of them: query, key and value in one.
    All(Fused),
    /// The first token all of them.
    First { query: Fused, key_value: Fused },
}

impl Block {
    pub(crate) fn new(scope: &Scope, names: &Names, shape: Shape, inits: Inits) -> Result<Self> {
        let (width, inner) = (shape.width, shape.inner);
        let norm = |name: &str| LayerNorm::new(&scope.at(name), width, shape.eps);
        let linear =
            |name: &str, from, to, init: Init| Linear::new(&scope.at(name), from, to, init);
        Ok(Self {
            norm1: norm(names.norm1)?,
            query: linear(names.query, width, width, inits.input)?,
            key: linear(names.key, width, width, inits.input)?,
            value: linear(names.value, width, width, inits.input)?,
            output: linear(names.output, width, width, inits.output)?,
            norm2: norm(names.norm2)?,
            up: linear(names.up, width, inner, inits.up)?,
            down: linear(names.down, inner, width, inits.input)?,
            shape,
            sealed: None,
        })
    }

    /// [N, tokens, width] to the same, with gradients; `drop` in training. A block sealed for its first token gives that alone.
    pub(crate) fn forward(&self, x: &Tensor, drop: Option<Drop>) -> Result<Tensor> {
        if let Some(sealed) = &self.sealed {
            return self.forward_sealed(sealed, x);
        }
        self.after_norm(x, &self.norm1.forward(x)?, drop)
    }

    /// What [`Self::forward`] makes of its input and that input's first norm, where the block is not sealed.
    pub(crate) fn after_norm(
        &self,
        x: &Tensor,
        normed: &Tensor,
        drop: Option<Drop>,
    ) -> Result<Tensor> {
        let train = drop.is_some();
        let drop = drop.unwrap_or_default();
        let qkv = [
            self.query.forward(normed)?,
            self.key.forward(normed)?,
            self.value.forward(normed)?,
        ];
        let Shape { heads, causal, .. } = self.shape;
        let mixed = attention(qkv.each_ref(), heads, drop.attention, causal)?;
        let branch = dropout(self.output.forward(&mixed)?, drop.hidden, train)?;
        let x = x.f_add(&drop_path(branch, drop.path, train)?)?;
        let inner = self.up.forward(&self.norm2.forward(&x)?)?;
        let branch = self.down.forward(&self.shape.activation.forward(&inner)?)?;
        let branch = dropout(branch, drop.hidden, train)?;
        Ok(x.f_add(&drop_path(branch, drop.path, train)?)?)
    }

    /// The first norm of [N, tokens, width].
    pub(crate) fn normed(&self, x: &Tensor) -> Result<Tensor> {
        self.norm1.forward(x)
    }

    /// Attention of a block that is not sealed, [N, heads, tokens, tokens], for its input's first norm.
    pub(crate) fn attention_map(&self, normed: &Tensor) -> Result<Tensor> {
        let (query, key) = (self.query.forward(normed)?, self.key.forward(normed)?);
        attention_map(&query, &key, self.shape.heads)
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Attention over [N, tokens, 3 width].
    fn mix(&self, qkv: &Tensor) -> Result<Tensor> {
        let Shape { heads, causal, .. } = self.shape;
        if !causal && saga_kernels::attends(qkv, heads) {
            return Ok(saga_kernels::attention(qkv, heads)?);
        }
        let parts = qkv.f_chunk(3, -1)?;
        let [query, key, value] = parts.as_slice() else {
            return Err(ModelError::Input("a block of no width".into()));
        };
        attention([query, key, value], heads, 0.0, causal)
    }

    fn forward_sealed(&self, sealed: &Sealed, x: &Tensor) -> Result<Tensor> {
        let heads = self.shape.heads;
        let normed = self.norm1.forward(x)?;
        let (mixed, x) = match &sealed.attend {
            Attend::All(joint) => {
                let qkv = joint.forward(&normed, Then::Nothing)?;
                (self.mix(&qkv)?, x.shallow_clone())
            }
            Attend::First { query, key_value } => {
                let query = query.forward(&normed.f_narrow(1, 0, 1)?, Then::Nothing)?;
                let pair = key_value.forward(&normed, Then::Nothing)?.f_chunk(2, -1)?;
                let [key, value] = pair.as_slice() else {
                    return Err(ModelError::Input("a block of no width".into()));
                };
                let mixed = attention([&query, key, value], heads, 0.0, false)?;
                (mixed, x.f_narrow(1, 0, 1)?)
            }
        };
        let x = sealed.output.forward(&mixed, Then::Add(&x))?;
        let normed = self.norm2.forward(&x)?;
        let inner = match self.shape.activation {
            Activation::Gelu => sealed.up.forward(&normed, Then::Gelu)?,
            Activation::QuickGelu => sealed.up.forward(&normed, Then::Swish)?,
        };
        sealed.down.forward(&inner, Then::Add(&x))
    }

    /// Prepares for serving about `rows` rows of input at a time. Its weights are then oneDNN's and no longer the store's. Where
    /// `first`, it will answer for the first token alone, as a last block is asked to: that spares the other tokens' queries and
    /// feed-forward branches, five sixths of a block.
    pub(crate) fn seal(&mut self, rows: i64, first: bool, sealing: &mut Sealing) -> Result<()> {
        // x sigmoid(1.702 x) = swish(1.702 x) / 1.702
        let scale = match self.shape.activation {
            Activation::Gelu => 1.0,
            Activation::QuickGelu => QUICK_GELU,
        };
        let (query, key, value) = (&self.query, &self.key, &self.value);
        let mut joint =
            |linears: &[&Linear], scale: [f64; 2]| Fused::new(linears, scale, rows, sealing);
        let attend = match first && !self.shape.causal {
            true => Attend::First {
                query: joint(&[query], [1.0, 1.0])?,
                key_value: joint(&[key, value], [1.0, 1.0])?,
            },
            false => Attend::All(joint(&[query, key, value], [1.0, 1.0])?),
        };
        self.sealed = Some(Sealed {
            attend,
            output: joint(&[&self.output], [1.0, 1.0])?,
            up: joint(&[&self.up], [scale, scale])?,
            down: joint(&[&self.down], [1.0 / scale, 1.0])?,
        });
        Ok(())
    }
}

impl Sealed {
    /// In the order in which they are sealed.
    fn maps(&self) -> Vec<&Fused> {
        let mut maps = match &self.attend {
            Attend::All(joint) => vec![joint],
            Attend::First { query, key_value } => vec![query, key_value],
        };
        maps.extend([&self.output, &self.up, &self.down]);
        maps
    }
}

/// The ranges that the blocks' linear maps observed, as [`Sealing::Int8`] takes them; none where nothing was observed.
pub(crate) fn take_seen(blocks: &[Block]) -> Vec<Ranges> {
    let sealed = blocks.iter().filter_map(|block| block.sealed.as_ref());
    let maps = sealed.flat_map(Sealed::maps);
    maps.filter_map(Fused::take_seen).collect()
}

/// Seals the blocks of a tower, the last one for its first token where `first`.
pub(crate) fn seal(
    blocks: &mut [Block],
    rows: i64,
    first: bool,
    sealing: &mut Sealing,
) -> Result<()> {
    let last = blocks.len().saturating_sub(1);
    for (index, block) in blocks.iter_mut().enumerate() {
        block.seal(rows, first && index == last, sealing)?;
    }
    Ok(())
}
