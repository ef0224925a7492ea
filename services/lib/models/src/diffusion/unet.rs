//! The UNet that Stable Diffusion (Rombach et al. 2022) predicts noise with, as diffusers' `UNet2DConditionModel`; field paths
//! mirror the checkpoint's keys. Stable Diffusion 1.x and 2.x, and InstructPix2Pix, whose latents come with those of an image.

mod blocks;
mod config;

pub use config::{BlockType, Config, Heads};

use super::embeddings::{TimestepEmbedding, sinusoids};
use super::layers::{Conv2d, GroupNorm, channels_last};
use super::part;
use crate::checkpoint::Tensors;
use crate::error::{ModelError, Result};
use crate::runtime::Runtime;
use crate::weights::{Scope, Weights};
use blocks::{DownBlock, Given, Level, MidBlock, UpBlock};
use std::path::Path;
use tch::{Device, Kind, Tensor};

impl Config {
    /// Width of the time embedding.
    fn time_width(&self) -> i64 {
        4 * self.block_out_channels.first().copied().unwrap_or(0)
    }
}

/// A UNet with its weights, for serving.
pub struct UNet2DConditionModel {
    config: Config,
    kind: Kind,
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl UNet2DConditionModel {
    fn new(config: Config, weights: &Weights, kind: Kind) -> Result<Self> {
        let root = weights.root();
        let channels = config.block_out_channels.as_slice();
        let [finest, .., coarsest] = match channels {
            [only] => [*only, *only],
            [finest, .., coarsest] => [*finest, *coarsest],
            [] => return Err(ModelError::Input("a UNet of no level".into())),
        };
        let level = |index: usize, channels| Level {
            config: &config,
            index,
            channels,
        };
        let last = channels.len() - 1;
        let rows = level(0, finest).rows();
        Ok(Self {
            conv_in: Conv2d::new(&root.at("conv_in"), config.in_channels, finest, rows)?,
            time_embedding: TimestepEmbedding::new(
                &root.at("time_embedding"),
                finest,
                config.time_width(),
            )?,
            down_blocks: down_blocks(&root.at("down_blocks"), &config)?,
            mid_block: MidBlock::new(&root.at("mid_block"), &level(last, coarsest))?,
            up_blocks: up_blocks(&root.at("up_blocks"), &config)?,
            conv_norm_out: GroupNorm::new(
                &root.at("conv_norm_out"),
                config.norm_num_groups,
                finest,
                config.norm_eps,
            )?,
            conv_out: Conv2d::new(&root.at("conv_out"), finest, config.out_channels, rows)?,
            kind,
            config,
        })
    }

    /// Loads the folder `dir` of a diffusers directory; `change` is given the tensors first.
    ///
    /// # Errors
    /// [`ModelError::Component`] naming the folder and the file, configuration key or tensor.
    pub fn load(
        dir: &Path,
        runtime: Runtime,
        change: impl FnOnce(Tensors) -> Result<Tensors>,
    ) -> Result<Self> {
        let kind = runtime.precision.kind();
        let build = |config, weights: &Weights| Self::new(config, weights, kind);
        part::load(dir, runtime, Config::read, change, build)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it predicts at `time` for latents [N, in_channels, height, width] and texts [N, tokens, cross_attention_dim]:
    /// [N, out_channels, height, width] in f32. Any height and width will do.
    ///
    /// # Errors
    /// [`ModelError::Input`] for other shapes.
    pub fn forward(&self, latents: &Tensor, time: f64, context: &Tensor) -> Result<Tensor> {
        let (batch, channels, _, _) = latents.size4()?;
        let (texts, _, width) = context.size3()?;
        let wanted = (
            self.config.in_channels,
            batch,
            self.config.cross_attention_dim,
        );
        if (channels, texts, width) != wanted {
            return Err(ModelError::Input(format!(
                "latents {:?} with texts {:?}; the UNet takes {} channels and texts {} wide",
                latents.size(),
                context.size(),
                self.config.in_channels,
                self.config.cross_attention_dim
            )));
        }
        let latents = channels_last(&latents.f_to_kind(self.kind)?)?;
        let time = self.time(time, latents.device())?;
        let given = Given {
            time: &time,
            context,
        };
        let mut x = self.conv_in.forward(&latents)?;
        let mut passed = vec![x.shallow_clone()];
        for block in &self.down_blocks {
            x = block.forward(&x, &given, &mut passed)?;
        }
        x = self.mid_block.forward(&x, &given)?;
        for block in &self.up_blocks {
            x = block.forward(&x, &given, &mut passed)?;
        }
        let x = self.conv_norm_out.forward_silu(&x)?;
        Ok(self.conv_out.forward(&x)?.f_to_kind(Kind::Float)?)
    }

    /// The time embedding [1, width] after the activation with which every block begins.
    fn time(&self, time: f64, device: Device) -> Result<Tensor> {
        let width = self.config.time_width() / 4;
        let (flip, shift) = (self.config.flip_sin_to_cos, self.config.freq_shift);
        let sinusoids = sinusoids(time, width, flip, shift, device)?;
        let embedding = self
            .time_embedding
            .forward(&sinusoids.f_to_kind(self.kind)?)?;
        Ok(embedding.f_silu()?)
    }
}

fn down_blocks(scope: &Scope, config: &Config) -> Result<Vec<DownBlock>> {
    let levels = config
        .block_out_channels
        .iter()
        .zip(&config.down_block_types);
    let mut inputs = config.block_out_channels.first().copied().unwrap_or(0);
    let last = config.block_out_channels.len() - 1;
    let block = |(index, (&channels, kind)): (usize, (&i64, &BlockType))| {
        let level = Level {
            config,
            index,
            channels,
        };
        let inputs = std::mem::replace(&mut inputs, channels);
        DownBlock::new(
            &scope.at(index),
            &level,
            inputs,
            kind.attends(),
            index == last,
        )
    };
    levels.enumerate().map(block).collect()
}

/// From the coarsest level to the finest, the opposite of the levels' numbers.
fn up_blocks(scope: &Scope, config: &Config) -> Result<Vec<UpBlock>> {
    let channels = &config.block_out_channels;
    let mut inputs = channels.last().copied().unwrap_or(0);
    let levels = channels
        .iter()
        .enumerate()
        .rev()
        .zip(&config.up_block_types);
    let block = |(number, ((index, &channels), kind)): (usize, ((usize, &i64), &BlockType))| {
        let level = Level {
            config,
            index,
            channels,
        };
        let finer = config.block_out_channels.get(index.saturating_sub(1));
        let inputs = std::mem::replace(&mut inputs, channels);
        let skip = finer.copied().unwrap_or(channels);
        UpBlock::new(&scope.at(number), &level, inputs, skip, kind.attends())
    };
    levels.enumerate().map(block).collect()
}
