//! The levels of a UNet: on the way down, in the middle, and on the way up, where what passed on the way down joins.

use super::Config;
use crate::diffusion::attention::{Shape, Transformer2DModel};
use crate::diffusion::resnet::{Downsample2D, Norms, ResnetBlock2D, Upsample2D};
use crate::error::{ModelError, Result};
use crate::weights::Scope;
use tch::Tensor;

/// What is told to every block.
pub(super) struct Given<'a> {
    /// [1, width], after its activation.
    pub(super) time: &'a Tensor,
    /// [N, tokens, width].
    pub(super) context: &'a Tensor,
}

/// A level's sizes.
pub(super) struct Level<'a> {
    pub(super) config: &'a Config,
    /// From the finest, 0, on.
    pub(super) index: usize,
    pub(super) channels: i64,
}

impl Level<'_> {
    /// About how many pixels pass at a time: of two latents, with and without guidance.
    pub(super) fn rows(&self) -> i64 {
        let side = (self.config.sample_size >> self.index).max(1);
        2 * side * side
    }

    fn resnet(&self, scope: &Scope, index: i64, inputs: i64) -> Result<ResnetBlock2D> {
        let norms = Norms {
            groups: self.config.norm_num_groups,
            eps: self.config.norm_eps,
        };
        let scope = scope.at("resnets").at(index);
        let time = Some(self.config.time_width());
        ResnetBlock2D::new(&scope, inputs, self.channels, time, norms, self.rows())
    }

    fn transformer(&self, scope: &Scope, index: i64) -> Result<Transformer2DModel> {
        let shape = Shape {
            channels: self.channels,
            heads: self.config.heads(self.index),
            context: self.config.cross_attention_dim,
            groups: self.config.norm_num_groups,
            linear: self.config.use_linear_projection,
            rows: self.rows(),
        };
        let scope = scope.at("attentions").at(index);
        Transformer2DModel::new(&scope, shape, self.config.transformer_layers_per_block)
    }
}

/// A residual block, and attention after it.
struct Layer {
    resnet: ResnetBlock2D,
    attention: Option<Transformer2DModel>,
}

impl Layer {
    fn new(scope: &Scope, level: &Level, index: i64, inputs: i64, attends: bool) -> Result<Self> {
        let attention = attends.then(|| level.transformer(scope, index));
        Ok(Self {
            resnet: level.resnet(scope, index, inputs)?,
            attention: attention.transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, given: &Given) -> Result<Tensor> {
        let x = self.resnet.forward(x, Some(given.time))?;
        match &self.attention {
            Some(attention) => attention.forward(&x, given.context),
            None => Ok(x),
        }
    }
}

/// diffusers' `DownBlock2D` and `CrossAttnDownBlock2D`; keys below `down_blocks.{i}`.
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
            layers: (0..level.config.layers_per_block)
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

/// diffusers' `UNetMidBlock2DCrossAttn`; keys below `mid_block`.
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

/// diffusers' `UpBlock2D` and `CrossAttnUpBlock2D`; keys below `up_blocks.{i}`.
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
        let last = level.config.layers_per_block;
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
