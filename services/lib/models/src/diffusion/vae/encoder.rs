//! From pixels to the moments of latents, and the middle that encoder and decoder have in common.

use super::Config;
use crate::diffusion::attention::ImageAttention;
use crate::diffusion::layers::{Conv2d, GroupNorm};
use crate::diffusion::resnet::{Downsample2D, ResnetBlock2D};
use crate::error::Result;
use crate::weights::Scope;
use tch::Tensor;

/// Keys below `encoder`.
pub(super) struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    pub(super) fn new(scope: &Scope, config: &Config) -> Result<Self> {
        let (finest, coarsest) = (config.finest(), config.coarsest());
        let last = config.block_out_channels.len() - 1;
        let mut inputs = finest;
        let block = |(level, &channels): (usize, &i64)| {
            let inputs = std::mem::replace(&mut inputs, channels);
            let scope = scope.at("down_blocks").at(level);
            DownBlock::new(&scope, config, level, [inputs, channels])
        };
        let channels = config.block_out_channels.iter().enumerate();
        Ok(Self {
            conv_in: Conv2d::new(
                &scope.at("conv_in"),
                config.in_channels,
                finest,
                config.rows(0),
            )?,
            down_blocks: channels.map(block).collect::<Result<_>>()?,
            mid_block: MidBlock::new(&scope.at("mid_block"), config)?,
            conv_norm_out: norm_out(scope, config, coarsest)?,
            conv_out: Conv2d::new(
                &scope.at("conv_out"),
                coarsest,
                2 * config.latent_channels,
                config.rows(last),
            )?,
        })
    }

    /// [N, in_channels, height, width] to [N, 2 latent_channels, height / scale, width / scale].
    pub(super) fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(images)?;
        for block in &self.down_blocks {
            x = block.forward(&x)?;
        }
        let x = self.mid_block.forward(&x)?;
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?)
    }
}

pub(super) fn norm_out(scope: &Scope, config: &Config, channels: i64) -> Result<GroupNorm> {
    let norms = config.norms();
    GroupNorm::new(
        &scope.at("conv_norm_out"),
        norms.groups,
        channels,
        norms.eps,
    )
}

/// diffusers' `DownEncoderBlock2D`.
struct DownBlock {
    resnets: Vec<ResnetBlock2D>,
    downsampler: Option<Downsample2D>,
}

impl DownBlock {
    fn new(
        scope: &Scope,
        config: &Config,
        level: usize,
        [inputs, channels]: [i64; 2],
    ) -> Result<Self> {
        let is_last = level + 1 == config.block_out_channels.len();
        let downsampler = (!is_last).then(|| {
            Downsample2D::new(
                &scope.at("downsamplers.0"),
                channels,
                true,
                config.rows(level),
            )
        });
        Ok(Self {
            resnets: ResnetBlock2D::row(
                scope,
                config.layers_per_block,
                [inputs, channels],
                config.norms(),
                config.rows(level),
            )?,
            downsampler: downsampler.transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.shallow_clone();
        for resnet in &self.resnets {
            x = resnet.forward(&x, None)?;
        }
        match &self.downsampler {
            Some(downsampler) => downsampler.forward(&x),
            None => Ok(x),
        }
    }
}

/// diffusers' `UNetMidBlock2D` with attention.
pub(super) struct MidBlock {
    before: ResnetBlock2D,
    attention: ImageAttention,
    after: ResnetBlock2D,
}

impl MidBlock {
    pub(super) fn new(scope: &Scope, config: &Config) -> Result<Self> {
        let (channels, norms) = (config.coarsest(), config.norms());
        let rows = config.rows(config.block_out_channels.len() - 1);
        let resnet = |index| {
            let scope = scope.at("resnets").at(index);
            ResnetBlock2D::new(&scope, channels, channels, None, norms, rows)
        };
        Ok(Self {
            before: resnet(0)?,
            attention: ImageAttention::new(&scope.at("attentions.0"), channels, 1, norms, rows)?,
            after: resnet(1)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.attention.forward(&self.before.forward(x, None)?)?;
        self.after.forward(&x, None)
    }
}
