//! unet/config.json, as diffusers writes it.

use super::blocks::{Attending, Sizes};
use super::common::{self, BlockType, attends, check_blocks};
use crate::diffusion::resnet::Norms;
use crate::error::{ModelError, Result};
use crate::layers::{check_sizes, check_width};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// The configuration of a UNet; defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Side of the latents that it was trained on.
    pub sample_size: i64,
    pub in_channels: i64,
    pub out_channels: i64,
    pub down_block_types: Vec<BlockType>,
    pub up_block_types: Vec<BlockType>,
    pub block_out_channels: Vec<i64>,
    pub layers_per_block: i64,
    pub cross_attention_dim: i64,
    /// Heads of each block's attention, in spite of its name.
    pub attention_head_dim: Heads,
    pub transformer_layers_per_block: i64,
    pub use_linear_projection: bool,
    pub norm_num_groups: i64,
    pub norm_eps: f64,
    pub flip_sin_to_cos: bool,
    pub freq_shift: f64,
}

/// One number for all levels, or one for each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Heads {
    Same(i64),
    Each(Vec<i64>),
}

impl Default for Config {
    fn default() -> Self {
        use BlockType::{CrossAttnDownBlock2D, CrossAttnUpBlock2D, DownBlock2D, UpBlock2D};
        let (down, up) = (CrossAttnDownBlock2D, CrossAttnUpBlock2D);
        Self {
            sample_size: 64,
            in_channels: 4,
            out_channels: 4,
            down_block_types: vec![down, down, down, DownBlock2D],
            up_block_types: vec![UpBlock2D, up, up, up],
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: 2,
            cross_attention_dim: 1280,
            attention_head_dim: Heads::Same(8),
            transformer_layers_per_block: 1,
            use_linear_projection: false,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
        }
    }
}

impl Config {
    /// Reads and checks a config.json.
    ///
    /// # Errors
    /// A file that is absent or malformed; [`ModelError::Config`] naming the first key that cannot be followed.
    pub fn read(path: &Path) -> Result<Self> {
        let (no, null) = ([json!(false)], [Value::Null]);
        let unset = [json!(false), Value::Null];
        let config: Self = common::read(
            path,
            "UNet2DConditionModel",
            &[
                ("addition_embed_type", &null),
                ("attention_type", &[json!("default")]),
                ("conv_in_kernel", &[json!(3)]),
                ("conv_out_kernel", &[json!(3)]),
                ("cross_attention_norm", &null),
                ("dual_cross_attention", &no),
                ("encoder_hid_dim", &null),
                ("mid_block_only_cross_attention", &unset),
                ("mid_block_type", &[json!("UNetMidBlock2DCrossAttn")]),
                ("num_attention_heads", &null),
                ("num_class_embeds", &null),
                ("only_cross_attention", &no),
                ("resnet_out_scale_factor", &[json!(1), json!(1.0)]),
                ("resnet_skip_time_act", &no),
                ("time_cond_proj_dim", &null),
                ("time_embedding_act_fn", &null),
                ("timestep_post_act", &null),
            ],
        )?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        check_sizes("block_out_channels", &self.block_out_channels)?;
        check_sizes("sample_size", &[self.sample_size])?;
        check_sizes("in_channels", &[self.in_channels, self.out_channels])?;
        check_sizes("cross_attention_dim", &[self.cross_attention_dim])?;
        let depths = [self.layers_per_block, self.transformer_layers_per_block];
        check_sizes("layers_per_block", &depths)?;
        let levels = self.block_out_channels.len();
        let attending = [
            BlockType::CrossAttnDownBlock2D,
            BlockType::CrossAttnUpBlock2D,
        ];
        check_blocks(
            levels,
            [&self.down_block_types, &self.up_block_types],
            attending,
        )?;
        if let Heads::Each(heads) = &self.attention_head_dim
            && heads.len() != levels
        {
            let why = format!("{} numbers for {levels} levels", heads.len());
            return Err(ModelError::Config {
                key: "attention_head_dim",
                why,
            });
        }
        for (level, &channels) in self.block_out_channels.iter().enumerate() {
            check_width("norm_num_groups", channels, self.norm_num_groups)?;
            check_width("attention_head_dim", channels, self.heads(level))?;
        }
        Ok(())
    }

    /// Heads of the attention of a level, 0 where there is no such level.
    fn heads(&self, level: usize) -> i64 {
        match &self.attention_head_dim {
            Heads::Same(heads) => *heads,
            Heads::Each(heads) => heads.get(level).copied().unwrap_or(0),
        }
    }

    /// What the blocks are made by.
    pub(super) fn sizes(&self) -> Sizes {
        let levels = 0..self.block_out_channels.len();
        Sizes {
            sample_size: self.sample_size,
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            channels: self.block_out_channels.clone(),
            attends: attends([&self.down_block_types, &self.up_block_types]),
            layers_per_block: self.layers_per_block,
            norms: Norms {
                groups: self.norm_num_groups,
                eps: self.norm_eps,
            },
            attention: Attending::Text {
                heads: levels.map(|level| self.heads(level)).collect(),
                width: self.cross_attention_dim,
                linear: self.use_linear_projection,
                depth: self.transformer_layers_per_block,
            },
        }
    }
}
