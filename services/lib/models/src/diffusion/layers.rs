//! What the UNets and the autoencoder share below their blocks: convolutions, group normalisation, linear maps. Those whose
//! parameters are trained are differentiable and follow them; others are prepared for serving.
//!
//! Images are [N, channels, height, width] with their channels innermost in memory ("channels last"): convolutions are fastest
//! so, and the same memory read as [N, height * width, channels] is what linear maps and attention take, without a copy.

use crate::error::Result;
use crate::fused::{Fused, Sealing};
use crate::layers::Linear;
use crate::weights::{Init, Scope};
use saga_kernels::PackedConv2d;
use tch::{Device, Tensor};

/// How parameters of a new model start: PyTorch's deviation of a layer with so many inputs, `1 / sqrt(3 inputs)`.
pub(super) fn init(inputs: i64) -> Init {
    Init::Normal((3.0 * inputs as f64).powf(-0.5))
}

/// A convolution of a 3x3 kernel; keys `weight` [outputs, inputs, 3, 3] and `bias`.
pub(super) enum Conv2d {
    /// Served on the CPU.
    Packed(PackedConv2d),
    /// Served elsewhere, and trained.
    Plain {
        weight: Tensor,
        bias: Tensor,
        stride: i64,
        padding: i64,
    },
}

impl Conv2d {
    /// Padded so that the size is kept, for images of about `rows` pixels in all.
    pub(super) fn new(scope: &Scope, inputs: i64, outputs: i64, rows: i64) -> Result<Self> {
        Self::with_stride(scope, [inputs, outputs], 1, 1, rows)
    }

    pub(super) fn with_stride(
        scope: &Scope,
        [inputs, outputs]: [i64; 2],
        stride: i64,
        padding: i64,
        rows: i64,
    ) -> Result<Self> {
        let weight = scope.parameter("weight", &[outputs, inputs, 3, 3], init(9 * inputs))?;
        let bias = scope.parameter("bias", &[outputs], Init::Const(0.0))?;
        let trained = weight.requires_grad();
        if !trained && saga_kernels::convolution::available() && weight.device() == Device::Cpu {
            let side = ((rows as f64).sqrt() as i64).max(3);
            let like = [1, inputs, side, side];
            let packed = PackedConv2d::new(&weight, &bias, stride, padding, like)?;
            return Ok(Self::Packed(packed));
        }
        Ok(Self::Plain {
            // A copy would not follow the weight that is trained.
            weight: if trained {
                weight
            } else {
                channels_last(&weight)?
            },
            bias,
            stride,
            padding,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Packed(packed) => packed.forward(x)?,
            Self::Plain {
                weight,
                bias,
                stride,
                padding,
            } => {
                let (stride, padding) = ([*stride; 2], [*padding; 2]);
                let kind = x.f_kind()?;
                let (weight, bias) = (weight.f_to_kind(kind)?, bias.f_to_kind(kind)?);
                x.f_conv2d(&weight, Some(&bias), stride, padding, [1, 1], 1)?
            }
        })
    }
}

/// The same tensor with its second dimension innermost in memory.
pub(super) fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_permute([0, 2, 3, 1])?
        .f_contiguous()?
        .f_permute([0, 3, 1, 2])?)
}

/// Group normalisation (Wu and He 2018); keys `weight` and `bias`.
pub(super) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
    eps: f64,
}

impl GroupNorm {
    pub(super) fn new(scope: &Scope, groups: i64, channels: i64, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: scope.parameter("weight", &[channels], Init::Const(1.0))?,
            bias: scope.parameter("bias", &[channels], Init::Const(0.0))?,
            groups,
            eps,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let kind = x.f_kind()?;
        let (weight, bias) = (self.weight.f_to_kind(kind)?, self.bias.f_to_kind(kind)?);
        Ok(x.f_group_norm(self.groups, Some(&weight), Some(&bias), self.eps, false)?)
    }

    /// Followed by `x * sigmoid(x)`.
    pub(super) fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.forward(x)?.f_silu_()?)
    }
}

/// A linear map with bias for about `rows` rows at a time; keys `weight` [outputs, inputs] and `bias`.
pub(super) fn linear(scope: &Scope, inputs: i64, outputs: i64, rows: i64) -> Result<Fused> {
    fused(&[&Linear::new(scope, inputs, outputs, init(inputs))?], rows)
}

/// The same from a 1x1 convolution, whose `weight` is [outputs, inputs, 1, 1].
pub(super) fn pointwise(scope: &Scope, inputs: i64, outputs: i64, rows: i64) -> Result<Fused> {
    let linear = Linear {
        weight: scope.parameter("weight", &[outputs, inputs, 1, 1], init(inputs))?,
        bias: Some(scope.parameter("bias", &[outputs], Init::Const(0.0))?),
    };
    fused(&[&linear], rows)
}

/// Linear maps of one input side by side.
pub(super) fn fused(linears: &[&Linear], rows: i64) -> Result<Fused> {
    match linears.iter().any(|linear| linear.weight.requires_grad()) {
        true => Ok(Fused::trained(linears)),
        false => Fused::new(linears, [1.0, 1.0], rows, &mut Sealing::Float),
    }
}

/// [N, channels, height, width] as [N, height * width, channels].
pub(super) fn tokens(image: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = image.size4()?;
    Ok(image
        .f_permute([0, 2, 3, 1])?
        .f_reshape([batch, height * width, channels])?)
}

/// [N, height * width, channels] as an image of the shape of `like` but for its channels.
pub(super) fn image(tokens: &Tensor, like: &Tensor) -> Result<Tensor> {
    let (batch, _, height, width) = like.size4()?;
    Ok(tokens
        .f_reshape([batch, height, width, -1])?
        .f_permute([0, 3, 1, 2])?)
}
