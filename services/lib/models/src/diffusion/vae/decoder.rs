//! From latents to pixels.

use super::Config;
use super::encoder::{MidBlock, norm_out};
use crate::diffusion::layers::{Conv2d, GroupNorm};
use crate::diffusion::resnet::{ResnetBlock2D, Upsample2D};
use crate::error::Result;
use crate::weights::Scope;
use tch::Tensor;

/// Keys below `decoder`.
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    pub(super) fn new(scope: &Scope, config: &Config) -> Result<Self> {
        let (finest, coarsest) = (config.finest(), config.coarsest());
        let last = config.block_out_channels.len() - 1;
        let mut inputs = coarsest;
        let block = |(number, (level, &channels)): (usize, (usize, &i64))| {
            let inputs = std::mem::replace(&mut inputs, channels);
            let scope = scope.at("up_blocks").at(number);
            UpBlock::new(&scope, config, level, [inputs, channels])
        };
        let channels = config.block_out_channels.iter().enumerate().rev();
        Ok(Self {
            conv_in: Conv2d::new(
                &scope.at("conv_in"),
                config.latent_channels,
                coarsest,
                config.rows(last),
            )?,
            mid_block: MidBlock::new(&scope.at("mid_block"), config)?,
            up_blocks: channels.enumerate().map(block).collect::<Result<_>>()?,
            conv_norm_out: norm_out(scope, config, finest)?,
            conv_out: Conv2d::new(
                &scope.at("conv_out"),
                finest,
                config.out_channels,
                config.rows(0),
            )?,
        })
    }

    /// [N, latent_channels, height, width] to [N, out_channels, scale height, scale width].
    pub(super) fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        let mut x = self.mid_block.forward(&self.conv_in.forward(latents)?)?;
        for block in &self.up_blocks {
            x = block.forward(&x)?;
        }
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?)
    }
}

/// diffusers' `UpDecoderBlock2D`.
struct UpBlock {
    resnets: Vec<ResnetBlock2D>,
    upsampler: Option<Upsample2D>,
}

impl UpBlock {
    fn new(
        scope: &Scope,
        config: &Config,
        level: usize,
        [inputs, channels]: [i64; 2],
    ) -> Result<Self> {
        let upsampler = (level > 0)
            .then(|| Upsample2D::new(&scope.at("upsamplers.0"), channels, config.rows(level)));
        Ok(Self {
            resnets: ResnetBlock2D::row(
                scope,
                config.layers_per_block + 1,
                [inputs, channels],
                config.norms(),
                config.rows(level),
            )?,
            upsampler: upsampler.transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.shallow_clone();
        for resnet in &self.resnets {
            x = resnet.forward(&x, None)?;
        }
        match &self.upsampler {
            Some(upsampler) => upsampler.forward(&x, None),
            None => Ok(x),
        }
    }
}
