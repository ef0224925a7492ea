//! The levels of a UNet, which all UNets are made of: on the way down, in the middle, and on the way up, where what passed on the way down joins.

use crate::diffusion::attention::{ImageAttention, Shape, Transformer2DModel};
use crate::diffusion::resnet::{Downsample2D, Norms, ResnetBlock2D, Upsample2D};
use crate::error::{ModelError, Result};
use crate::weights::Scope;
use tch::Tensor;

/// What is told to every block.
pub(super) struct Given<'a> {
    /// [1, width] or [N, width], after its activation.
    pub(super) time: &'a Tensor,
    /// [N, tokens, width], where the UNet reads texts.
    pub(super) context: Option<&'a Tensor>,
}

/// The sizes of a UNet, with texts or without.
pub(super) struct Sizes {
    pub(super) sample_size: i64,
    pub(super) in_channels: i64,
    pub(super) out_channels: i64,
    /// Of each level, the finest first.
    pub(super) channels: Vec<i64>,
    /// Whether the levels attend on the way down, and, the coarsest first, on the way up.
    pub(super) attends: [Vec<bool>; 2],
    pub(super) layers_per_block: i64,
    pub(super) norms: Norms,
    pub(super) attention: Attending,
}

/// What pixels attend to.
pub(super) enum Attending {
    /// Each other and a text.
    Text {
        /// Of each level, the finest first.
        heads: Vec<i64>,
        width: i64,
        linear: bool,
        depth: i64,
    },
    /// Each other, with heads so wide.
    Image { head_width: i64 },
}

impl Sizes {
    /// Width of the time embedding.
    pub(super) fn time_width(&self) -> i64 {
        4 * self.channels.first().copied().unwrap_or(0)
    }

    /// Number and channels of the coarsest level.
    pub(super) fn coarsest(&self) -> (usize, i64) {
        let last = self.channels.len().saturating_sub(1);
        (last, self.channels.last().copied().unwrap_or(0))
    }
}

/// A level's sizes.
pub(super) struct Level<'a> {
    pub(super) sizes: &'a Sizes,
    /// From the finest, 0, on.
    pub(super) index: usize,
    pub(super) channels: i64,
}

impl Level<'_> {
    /// About how many pixels pass at a time: of two samples, with and without guidance.
    pub(super) fn rows(&self) -> i64 {
        let side = (self.sizes.sample_size >> self.index).max(1);
        2 * side * side
    }

    fn resnet(&self, scope: &Scope, index: i64, inputs: i64) -> Result<ResnetBlock2D> {
        let scope = scope.at("resnets").at(index);
        let time = Some(self.sizes.time_width());
        let norms = self.sizes.norms;
        ResnetBlock2D::new(&scope, inputs, self.channels, time, norms, self.rows())
    }

    fn attention(&self, scope: &Scope, index: i64) -> Result<Attention> {
        let (scope, norms) = (scope.at("attentions").at(index), self.sizes.norms);
        Ok(match &self.sizes.attention {
            Attending::Text {
                heads,
                width,
                linear,
                depth,
            } => {
                let shape = Shape {
                    channels: self.channels,
                    heads: heads.get(self.index).copied().unwrap_or(1),
                    context: *width,
                    groups: norms.groups,
                    linear: *linear,
                    rows: self.rows(),
                };
                Attention::Text(Transformer2DModel::new(&scope, shape, *depth)?)
            }
            Attending::Image { head_width } => {
                let heads = self.channels / head_width;
                let (channels, rows) = (self.channels, self.rows());
                Attention::Image(ImageAttention::new(&scope, channels, heads, norms, rows)?)
            }
        })
    }
}

/// What follows a residual block.
enum Attention {
    Text(Transformer2DModel),
    Image(ImageAttention),
}

impl Attention {
    fn forward(&self, x: &Tensor, given: &Given) -> Result<Tensor> {
        match (self, given.context) {
            (Self::Text(attention), Some(context)) => attention.forward(x, context),
            (Self::Text(_), None) => Err(ModelError::Input("a UNet of texts without one".into())),
            (Self::Image(attention), _) => attention.forward(x),
        }
    }
}

/// A residual block, and attention after it.
struct Layer {
    resnet: ResnetBlock2D,
    attention: Option<Attention>,
}

impl Layer {
    fn new(scope: &Scope, level: &Level, index: i64, inputs: i64, attends: bool) -> Result<Self> {
        let attention = attends.then(|| level.attention(scope, index));
        Ok(Self {
            resnet: level.resnet(scope, index, inputs)?,
            attention: attention.transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, given: &Given) -> Result<Tensor> {
        let x = self.resnet.forward(x, Some(given.time))?;
        match &self.attention {
            Some(attention) => attention.forward(&x, given),
            None => Ok(x),
        }
    }
}

/// diffusers' `DownBlock2D`, `AttnDownBlock2D` and `CrossAttnDownBlock2D`; keys below `down_blocks.{i}`.
pub(super) struct DownBlock {
    layers: Vec<Layer>,
    downsampler: Option<Downsample2D>,
}

impl DownBlock {
    pub(super) fn new(
        scope: &Scope,
        level: &Level,
        inputs: i64,
        attends: bool,
        last: bool,
    ) -> Result<Self> {
        let layer = |index| {
            let inputs = if index == 0 { inputs } else { level.channels };
            Layer::new(scope, level, index, inputs, attends)
        };
        let downsampler = (!last).then(|| {
            Downsample2D::new(
                &scope.at("downsamplers.0"),
                level.channels,
                false,
                level.rows(),
            )
        });
        Ok(Self {
            layers: (0..level.sizes.layers_per_block)
                .map(layer)
                .collect::<Result<_>>()?,
            downsampler: downsampler.transpose()?,
        })
    }

    /// Leaves what each layer gave in `passed`, for the way up.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        given: &Given,
        passed: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let mut x = x.shallow_clone();
        for layer in &self.layers {
            x = layer.forward(&x, given)?;
            passed.push(x.shallow_clone());
        }
        if let Some(downsampler) = &self.downsampler {
            x = downsampler.forward(&x)?;
            passed.push(x.shallow_clone());
        }
        Ok(x)
    }
}

/// diffusers' `UNetMidBlock2D` and `UNetMidBlock2DCrossAttn`; keys below `mid_block`.
pub(super) struct MidBlock {
    first: Layer,
    second: ResnetBlock2D,
}

impl MidBlock {
    pub(super) fn new(scope: &Scope, level: &Level) -> Result<Self> {
        Ok(Self {
            first: Layer::new(scope, level, 0, level.channels, true)?,
            second: level.resnet(scope, 1, level.channels)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, given: &Given) -> Result<Tensor> {
        self.second
            .forward(&self.first.forward(x, given)?, Some(given.time))
    }
}

/// diffusers' `UpBlock2D`, `AttnUpBlock2D` and `CrossAttnUpBlock2D`; keys below `up_blocks.{i}`.
pub(super) struct UpBlock {
    layers: Vec<Layer>,
    upsampler: Option<Upsample2D>,
}

impl UpBlock {
    /// `inputs` come from below, `skip` from the next finer level on the way down.
    pub(super) fn new(
        scope: &Scope,
        level: &Level,
        inputs: i64,
        skip: i64,
        attends: bool,
    ) -> Result<Self> {
        let last = level.sizes.layers_per_block;
        let layer = |index| {
            let from_below = if index == 0 { inputs } else { level.channels };
            let joined = if index == last { skip } else { level.channels };
            Layer::new(scope, level, index, from_below + joined, attends)
        };
        let upsampler = (level.index > 0)
            .then(|| Upsample2D::new(&scope.at("upsamplers.0"), level.channels, level.rows()));
        Ok(Self {
            layers: (0..=last).map(layer).collect::<Result<_>>()?,
            upsampler: upsampler.transpose()?,
        })
    }

    /// Takes what passed on the way down from `passed`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        given: &Given,
        passed: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let mut x = x.shallow_clone();
        for layer in &self.layers {
            let joined = passed.pop().ok_or_else(|| {
                ModelError::Input("fewer layers on the way down than on the way up".into())
            })?;
            x = layer.forward(&Tensor::f_cat(&[&x, &joined], 1)?, given)?;
        }
        match &self.upsampler {
            Some(upsampler) => {
                // A side that was odd on the way down is met again so.
                let size = passed.last().map(Tensor::size4).transpose()?;
                upsampler.forward(&x, size.map(|(_, _, height, width)| [height, width]))
            }
            None => Ok(x),
        }
    }
}
