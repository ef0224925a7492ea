//! vae/config.json, as diffusers writes it.

use crate::diffusion::config;
use crate::diffusion::resnet::Norms;
use crate::error::{ModelError, Result};
use crate::layers::{check_sizes, check_width};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

const NORM_EPS: f64 = 1e-6;

/// The configuration of an autoencoder; defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    pub in_channels: i64,
    pub out_channels: i64,
    pub latent_channels: i64,
    pub block_out_channels: Vec<i64>,
    pub layers_per_block: i64,
    pub norm_num_groups: i64,
    /// Side of the images that it was trained on.
    pub sample_size: i64,
    /// What latents are multiplied by, so that they vary by about one.
    pub scaling_factor: f64,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            block_out_channels: vec![64],
            layers_per_block: 1,
            norm_num_groups: 32,
            sample_size: 32,
            scaling_factor: 0.18215,
            down_block_types: vec!["DownEncoderBlock2D".into()],
            up_block_types: vec!["UpDecoderBlock2D".into()],
        }
    }
}

impl Config {
    /// Reads and checks a config.json.
    ///
    /// # Errors
    /// A file that is absent or malformed; [`ModelError::Config`] naming the first key that cannot be followed.
    pub fn read(path: &Path) -> Result<Self> {
        let (yes, null) = ([json!(true)], [Value::Null]);
        let config: Self = config::read(
            path,
            &[
                ("_class_name", &[json!("AutoencoderKL")]),
                ("act_fn", &[json!("silu")]),
                ("latents_mean", &null),
                ("latents_std", &null),
                ("mid_block_add_attention", &yes),
                ("shift_factor", &null),
                ("use_post_quant_conv", &yes),
                ("use_quant_conv", &yes),
            ],
        )?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let channels = [self.in_channels, self.out_channels, self.latent_channels];
        check_sizes("latent_channels", &channels)?;
        check_sizes("block_out_channels", &self.block_out_channels)?;
        check_sizes("layers_per_block", &[self.layers_per_block])?;
        for &channels in &self.block_out_channels {
            check_width("norm_num_groups", channels, self.norm_num_groups)?;
        }
        let levels = self.block_out_channels.len();
        if !(1..=8).contains(&levels) {
            let why = format!("{levels} levels; use 1 to 8");
            return Err(ModelError::Config {
                key: "block_out_channels",
                why,
            });
        }
        check_sizes("sample_size", &[self.sample_size / self.scale()])?;
        if !(self.scaling_factor.is_finite() && self.scaling_factor > 0.0) {
            let why = format!("{} must be above 0", self.scaling_factor);
            return Err(ModelError::Config {
                key: "scaling_factor",
                why,
            });
        }
        for (key, types, known) in [
            (
                "down_block_types",
                &self.down_block_types,
                "DownEncoderBlock2D",
            ),
            ("up_block_types", &self.up_block_types, "UpDecoderBlock2D"),
        ] {
            if types.len() != levels || types.iter().any(|kind| kind != known) {
                let why = format!("{types:?} must be {levels} times {known:?}");
                return Err(ModelError::Config { key, why });
            }
        }
        Ok(())
    }

    /// Pixels along a side for each latent.
    pub fn scale(&self) -> i64 {
        1 << (self.block_out_channels.len().max(1) - 1)
    }

    pub(super) fn norms(&self) -> Norms {
        Norms {
            groups: self.norm_num_groups,
            eps: NORM_EPS,
        }
    }

    /// Pixels that pass at the level of a number, the finest 0.
    pub(super) fn rows(&self, level: usize) -> i64 {
        (self.sample_size >> level).max(1).pow(2)
    }

    pub(super) fn finest(&self) -> i64 {
        self.block_out_channels.first().copied().unwrap_or(0)
    }

    pub(super) fn coarsest(&self) -> i64 {
        self.block_out_channels.last().copied().unwrap_or(0)
    }
}
