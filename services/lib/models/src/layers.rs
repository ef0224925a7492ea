//! Blocks that the transformers share: linear maps, norms, activations, attention, stochastic depth.
//!
//! Activations flow in one element type; masters stay f32 and are converted where they are used, which costs
//! nothing once serving has converted them in place.

use crate::error::{ModelError, Result};
use crate::weights::{Init, Scope};
use tch::{Device, Kind, Tensor};

/// `y = x W^T + b`, keys `weight` [outputs, inputs], of a 1x1 convolution [outputs, inputs, 1, 1], and, with a bias, `bias`
/// [outputs].
pub(crate) struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn new(scope: &Scope, inputs: i64, outputs: i64, init: Init) -> Result<Self> {
        let bias = Some(scope.parameter("bias", &[outputs], Init::Const(0.0))?);
        Ok(Self {
            bias,
            ..Self::without_bias(scope, inputs, outputs, init)?
        })
    }

    pub(crate) fn without_bias(
        scope: &Scope,
        inputs: i64,
        outputs: i64,
        init: Init,
    ) -> Result<Self> {
        Ok(Self {
            weight: scope.parameter("weight", &[outputs, inputs], init)?,
            bias: None,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let kind = x.f_kind()?;
        let bias = self
            .bias
            .as_ref()
            .map(|bias| bias.f_to_kind(kind))
            .transpose()?;
        let weight = self.weight.f_flatten(1, -1)?.f_to_kind(kind)?;
        Ok(x.f_linear(&weight, bias.as_ref())?)
    }
}

/// Layer normalisation over the last dimension, keys `weight` and `bias`.
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    width: i64,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn new(scope: &Scope, width: i64, eps: f64) -> Result<Self> {
        let weight = scope.parameter("weight", &[width], Init::Const(1.0))?;
        let bias = scope.parameter("bias", &[width], Init::Const(0.0))?;
        Ok(Self {
            weight,
            bias,
            width,
            eps,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let kind = x.f_kind()?;
        let (weight, bias) = (self.weight.f_to_kind(kind)?, self.bias.f_to_kind(kind)?);
        Ok(x.f_layer_norm([self.width], Some(&weight), Some(&bias), self.eps, false)?)
    }
}

const BATCH_NORM_EPS: f64 = 1e-5;

/// `torch.nn.BatchNorm1d` or `2d` with their defaults (eps 1e-5, momentum 0.1).
pub(crate) struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
}

impl BatchNorm {
    pub(crate) fn new(scope: &Scope, width: i64) -> Result<Self> {
        let float = (Kind::Float, Device::Cpu);
        Ok(Self {
            weight: scope.parameter("weight", &[width], Init::Const(1.0))?,
            bias: scope.parameter("bias", &[width], Init::Const(0.0))?,
            running_mean: scope.buffer("running_mean", Tensor::f_zeros([width], float)?)?,
            running_var: scope.buffer("running_var", Tensor::f_ones([width], float)?)?,
            num_batches_tracked: scope.buffer(
                "num_batches_tracked",
                Tensor::f_zeros([0_i64; 0], (Kind::Int64, Device::Cpu))?,
            )?,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        if train {
            let _ = self.num_batches_tracked.shallow_clone().f_add_scalar_(1)?;
        }
        let (mean, var) = (Some(&self.running_mean), Some(&self.running_var));
        Ok(x.f_batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            mean,
            var,
            train,
            0.1,
            BATCH_NORM_EPS,
            false,
        )?)
    }

    /// What it multiplies each channel by outside training, and then adds, in f32.
    pub(crate) fn factor_and_bias(&self) -> Result<[Tensor; 2]> {
        let [weight, bias, mean, var] = [
            &self.weight,
            &self.bias,
            &self.running_mean,
            &self.running_var,
        ]
        .map(|tensor| tensor.f_to_kind(Kind::Float));
        let factor = weight?.f_div(&var?.f_add_scalar(BATCH_NORM_EPS)?.f_sqrt()?)?;
        let bias = bias?.f_sub(&mean?.f_mul(&factor)?)?;
        Ok([factor, bias])
    }
}

/// Non-overlapping patches projected to tokens: [N, channels, side, side] -> [N, patches, width].
/// Key `weight` [width, channels, patch, patch] as the convolution that transformers stores.
pub(crate) struct PatchProjection {
    weight: Tensor,
    bias: Option<Tensor>,
    patch: i64,
}

impl PatchProjection {
    pub(crate) fn new(
        scope: &Scope,
        channels: i64,
        width: i64,
        patch: i64,
        bias: bool,
        init: Init,
    ) -> Result<Self> {
        let weight = scope.parameter("weight", &[width, channels, patch, patch], init)?;
        let bias = bias
            .then(|| scope.parameter("bias", &[width], Init::Const(0.0)))
            .transpose()?;
        Ok(Self {
            weight,
            bias,
            patch,
        })
    }

    /// A matrix product over unfolded patches: faster on CPU than the convolution it equals.
    pub(crate) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let kind = pixels.f_kind()?;
        let (batch, channels, height, width) = pixels.size4()?;
        let (rows, columns, patch) = (height / self.patch, width / self.patch, self.patch);
        let patches = pixels
            .f_reshape([batch, channels, rows, patch, columns, patch])?
            .f_permute([0, 2, 4, 1, 3, 5])?
            .f_reshape([batch, rows * columns, channels * patch * patch])?;
        let weight = self.weight.f_to_kind(kind)?.f_flatten(1, 3)?;
        let bias = self
            .bias
            .as_ref()
            .map(|bias| bias.f_to_kind(kind))
            .transpose()?;
        Ok(patches.f_linear(&weight, bias.as_ref())?)
    }
}

/// The activation of a feed-forward block, by its name in config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Exact, with the error function.
    Gelu,
    /// `x * sigmoid(1.702 x)`, as OpenAI's CLIP.
    QuickGelu,
}

/// The factor of quick_gelu.
pub const QUICK_GELU: f64 = 1.702;

impl Activation {
    pub(crate) fn forward(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Gelu => x.f_gelu("none")?,
            Self::QuickGelu => x.f_mul_scalar(QUICK_GELU)?.f_sigmoid()?.f_mul(x)?,
        })
    }
}

/// Scaled dot-product attention over projected `[N, tokens, width]`, heads split and joined here; queries may be fewer.
pub(crate) fn attention(
    qkv: [&Tensor; 3],
    heads: i64,
    dropout: f64,
    causal: bool,
) -> Result<Tensor> {
    let (batch, tokens, width) = qkv[0].size3()?;
    let split = |x: &Tensor| {
        x.f_reshape([batch, -1, heads, width / heads])?
            .f_transpose(1, 2)
    };
    let [query, key, value] = qkv;
    if query.requires_grad() && !causal && dropout == 0.0 {
        let mixed = attention_map(query, key, heads)?.f_matmul(&split(value)?)?;
        return Ok(mixed.f_transpose(1, 2)?.f_reshape([batch, tokens, width])?);
    }
    let mixed = Tensor::f_scaled_dot_product_attention::<Tensor>(
        &split(query)?,
        &split(key)?,
        &split(value)?,
        None,
        dropout,
        causal,
        None,
        false,
    )?;
    Ok(mixed.f_transpose(1, 2)?.f_reshape([batch, tokens, width])?)
}

/// Who attends to whom: `[N, heads, queries, keys]`, rows sum to one, for projected `[N, tokens, width]`.
pub(crate) fn attention_map(query: &Tensor, key: &Tensor, heads: i64) -> Result<Tensor> {
    let (batch, _, width) = query.size3()?;
    let split = |x: &Tensor| {
        x.f_reshape([batch, -1, heads, width / heads])?
            .f_transpose(1, 2)
    };
    let scale = ((width / heads) as f64).powf(-0.5);
    let scores = split(query)?
        .f_matmul(&split(key)?.f_transpose(-2, -1)?)?
        .f_mul_scalar(scale)?;
    Ok(scores.f_softmax(-1, query.f_kind()?)?)
}

/// Dropout in training, nothing else.
pub(crate) fn dropout(x: Tensor, rate: f64, train: bool) -> Result<Tensor> {
    if train && rate > 0.0 {
        Ok(x.f_dropout(rate, true)?)
    } else {
        Ok(x)
    }
}

/// Stochastic depth (Huang et al. 2016): drops a residual branch of whole samples with probability `rate`.
pub(crate) fn drop_path(branch: Tensor, rate: f64, train: bool) -> Result<Tensor> {
    if !train || rate <= 0.0 {
        return Ok(branch);
    }
    let keep = 1.0 - rate;
    let mask = Tensor::f_full(
        [branch.size3()?.0, 1, 1],
        keep,
        (branch.f_kind()?, branch.device()),
    )?;
    Ok(branch.f_mul(&mask.f_bernoulli()?.f_div_scalar(keep)?)?)
}

/// Checks `[N, channels, side, side]` before libtorch sees it, so that the message names what was expected.
pub(crate) fn check_pixels(pixels: &Tensor, channels: i64, side: i64) -> Result<()> {
    match pixels.size().as_slice() {
        [n, c, h, w] if *n >= 1 && (*c, *h, *w) == (channels, side, side) => Ok(()),
        found => Err(ModelError::Input(format!(
            "pixel_values has shape {found:?}; the model takes [N, {channels}, {side}, {side}]"
        ))),
    }
}

/// Checks the sizes every vision or text tower needs.
pub(crate) fn check_width(key: &'static str, width: i64, heads: i64) -> Result<()> {
    check_sizes(key, &[width, heads])?;
    if width % heads != 0 {
        let why =
            format!("width {width} must be a positive multiple of the {heads} attention heads");
        return Err(ModelError::Config { key, why });
    }
    Ok(())
}

/// Checks sizes that a configuration gives.
pub(crate) fn check_sizes(key: &'static str, sizes: &[i64]) -> Result<()> {
    /// Above every model's, and low enough to be squared.
    const LARGEST: i64 = 1 << 20;
    if sizes.iter().all(|size| (1..=LARGEST).contains(size)) {
        return Ok(());
    }
    let why = format!("sizes {sizes:?} must lie in 1 to {LARGEST}");
    Err(ModelError::Config { key, why })
}

/// Checks that an image of `side` pixels divides into patches.
pub(crate) fn check_patches(side: i64, patch: i64) -> Result<()> {
    check_sizes("patch_size", &[side, patch])?;
    if side % patch != 0 {
        let why =
            format!("image side {side} must be a positive multiple of the patch side {patch}");
        return Err(ModelError::Config {
            key: "patch_size",
            why,
        });
    }
    Ok(())
}

/// L2-normalised rows, in f32.
pub(crate) fn unit_rows(x: &Tensor) -> Result<Tensor> {
    let x = x.f_to_kind(Kind::Float)?;
    Ok(x.f_div(&x.f_norm_scalaropt_dim(2, [-1], true)?)?)
}
