//! UNets that diffusion predicts noise with: diffusers' `UNet2DConditionModel`, which is told texts (Stable Diffusion 1.x and 2.x,
//! Rombach et al. 2022; InstructPix2Pix, whose latents come with those of an image), and [`UNet2DModel`], which is told classes.
//! Field paths mirror the checkpoint's keys.

mod blocks;
mod class_conditional;
mod common;
mod config;
mod trunk;

pub use class_conditional::{Config as ClassConfig, UNet2DModel};
pub use common::BlockType;
pub use config::{Config, Heads};

use super::embeddings::sinusoids;
use super::part;
use crate::checkpoint::Tensors;
use crate::error::{ModelError, Result};
use crate::runtime::Runtime;
use crate::weights::Weights;
use blocks::Given;
use std::path::Path;
use tch::{Device, Kind, Tensor};
use trunk::Trunk;

/// A UNet with its weights, for serving.
pub struct UNet2DConditionModel {
    config: Config,
    kind: Kind,
    trunk: Trunk,
}

impl UNet2DConditionModel {
    fn new(config: Config, weights: &Weights, kind: Kind) -> Result<Self> {
        let trunk = Trunk::new(&weights.root(), &config.sizes())?;
        Ok(Self {
            config,
            kind,
            trunk,
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
        let time = self.time(time, latents.device())?;
        let given = Given {
            time: &time,
            context: Some(context),
        };
        self.trunk.forward(latents, &given, self.kind)
    }

    /// The time embedding [1, width] after the activation with which every block begins.
    fn time(&self, time: f64, device: Device) -> Result<Tensor> {
        let width = self.config.block_out_channels.first().copied();
        let (flip, shift) = (self.config.flip_sin_to_cos, self.config.freq_shift);
        let times = Tensor::f_from_slice(&[time as f32])?.f_to_device(device)?;
        let sinusoids = sinusoids(&times, width.unwrap_or(0), flip, shift)?;
        let embedding = &self.trunk.time_embedding;
        Ok(embedding
            .forward(&sinusoids.f_to_kind(self.kind)?)?
            .f_silu()?)
    }
}
