//! config.json of a `UNet2DModel`, as diffusers writes it.

use crate::diffusion::resnet::Norms;
use crate::diffusion::unet::blocks::{Attending, Sizes};
use crate::diffusion::unet::common::{self, BlockType, attends, check_blocks};
use crate::error::Result;
use crate::layers::{check_sizes, check_width};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;

const CLASS: &str = "UNet2DModel";

/// The configuration of a UNet of classes; defaults are diffusers', which has none for `sample_size` and `num_class_embeds`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Side of the images in pixels; a multiple of two to the number of levels less one.
    pub sample_size: i64,
    pub in_channels: i64,
    pub out_channels: i64,
    pub down_block_types: Vec<BlockType>,
    pub up_block_types: Vec<BlockType>,
    pub block_out_channels: Vec<i64>,
    pub layers_per_block: i64,
    /// Channels of one head of attention.
    pub attention_head_dim: i64,
    pub norm_num_groups: i64,
    pub norm_eps: f64,
    pub flip_sin_to_cos: bool,
    pub freq_shift: f64,
    /// Classes, and at the end the one that stands for none.
    pub num_class_embeds: i64,
}

impl Default for Config {
    fn default() -> Self {
        use BlockType::{AttnDownBlock2D, AttnUpBlock2D, DownBlock2D, UpBlock2D};
        let (down, up) = (AttnDownBlock2D, AttnUpBlock2D);
        Self {
            sample_size: 0,
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DownBlock2D, down, down, down],
            up_block_types: vec![up, up, up, UpBlock2D],
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            attention_head_dim: 8,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            num_class_embeds: 0,
        }
    }
}

impl Config {
    /// Reads and checks a config.json.
    ///
    /// # Errors
    /// A file that is absent or malformed; [`ModelError::Config`](crate::ModelError) naming the first key that cannot be
    /// followed.
    pub fn read(path: &Path) -> Result<Self> {
        let conv = [json!("conv")];
        let config: Self = common::read(
            path,
            CLASS,
            &[
                ("add_attention", &[json!(true)]),
                ("attn_norm_num_groups", &[Value::Null]),
                ("downsample_type", &conv),
                ("mid_block_type", &[json!("UNetMidBlock2D")]),
                ("upsample_type", &conv),
            ],
        )?;
        config.check()?;
        Ok(config)
    }

    /// With levels of so many channels, the finest first, of which all but the finest attend.
    #[must_use]
    pub fn with_levels(self, block_out_channels: Vec<i64>) -> Self {
        let coarser = block_out_channels.len().saturating_sub(1);
        let mut down = vec![BlockType::AttnDownBlock2D; coarser];
        let mut up = vec![BlockType::AttnUpBlock2D; coarser];
        down.insert(0, BlockType::DownBlock2D);
        up.push(BlockType::UpBlock2D);
        Self {
            down_block_types: down,
            up_block_types: up,
            block_out_channels,
            ..self
        }
    }

    /// The class that stands for none.
    pub fn null_class(&self) -> i64 {
        self.num_class_embeds - 1
    }

    pub(super) fn check(&self) -> Result<()> {
        let levels = self.block_out_channels.len();
        check_blocks(
            levels,
            [&self.down_block_types, &self.up_block_types],
            [BlockType::AttnDownBlock2D, BlockType::AttnUpBlock2D],
        )?;
        check_sizes("block_out_channels", &self.block_out_channels)?;
        check_sizes("in_channels", &[self.in_channels, self.out_channels])?;
        check_sizes("layers_per_block", &[self.layers_per_block])?;
        // One class and the one that stands for none.
        check_sizes(
            "num_class_embeds",
            &[self.num_class_embeds, self.null_class()],
        )?;
        check_width("sample_size", self.sample_size, 1 << (levels - 1))?;
        for &channels in &self.block_out_channels {
            check_width("norm_num_groups", channels, self.norm_num_groups)?;
            check_width("attention_head_dim", channels, self.attention_head_dim)?;
        }
        Ok(())
    }

    /// As config.json holds it.
    pub(super) fn named(&self) -> impl Serialize + '_ {
        #[derive(Serialize)]
        struct Named<'a> {
            _class_name: &'static str,
            #[serde(flatten)]
            config: &'a Config,
        }
        Named {
            _class_name: CLASS,
            config: self,
        }
    }

    /// What the blocks are made by.
    pub(in crate::diffusion::unet) fn sizes(&self) -> Sizes {
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
            attention: Attending::Image {
                head_width: self.attention_head_dim,
            },
        }
    }
}
