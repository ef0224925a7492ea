//! What all UNets have in common: from a sample and what it is told to what it predicts, level by level.

use super::blocks::{DownBlock, Given, Level, MidBlock, Sizes, UpBlock};
use crate::diffusion::embeddings::TimestepEmbedding;
use crate::diffusion::layers::{Conv2d, GroupNorm, channels_last};
use crate::error::Result;
use crate::weights::Scope;
use tch::{Kind, Tensor};

/// Keys below the root.
pub(super) struct Trunk {
    conv_in: Conv2d,
    pub(super) time_embedding: TimestepEmbedding,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Trunk {
    /// Of checked sizes: at least one level, and block types for each.
    pub(super) fn new(root: &Scope, sizes: &Sizes) -> Result<Self> {
        let level = |index, channels| Level {
            sizes,
            index,
            channels,
        };
        let finest = sizes.channels.first().copied().unwrap_or(0);
        let (last, coarsest) = sizes.coarsest();
        let rows = level(0, finest).rows();
        let norm = root.at("conv_norm_out");
        Ok(Self {
            conv_in: Conv2d::new(&root.at("conv_in"), sizes.in_channels, finest, rows)?,
            time_embedding: TimestepEmbedding::new(
                &root.at("time_embedding"),
                finest,
                sizes.time_width(),
            )?,
            down_blocks: down_blocks(&root.at("down_blocks"), sizes)?,
            mid_block: MidBlock::new(&root.at("mid_block"), &level(last, coarsest))?,
            up_blocks: up_blocks(&root.at("up_blocks"), sizes)?,
            conv_norm_out: GroupNorm::new(&norm, sizes.norms.groups, finest, sizes.norms.eps)?,
            conv_out: Conv2d::new(&root.at("conv_out"), finest, sizes.out_channels, rows)?,
        })
    }

    /// [N, in_channels, height, width] to [N, out_channels, height, width] in f32, computed in `kind`.
    pub(super) fn forward(&self, sample: &Tensor, given: &Given, kind: Kind) -> Result<Tensor> {
        let sample = channels_last(&sample.f_to_kind(kind)?)?;
        let mut x = self.conv_in.forward(&sample)?;
        let mut passed = vec![x.shallow_clone()];
        for block in &self.down_blocks {
            x = block.forward(&x, given, &mut passed)?;
        }
        x = self.mid_block.forward(&x, given)?;
        for block in &self.up_blocks {
            x = block.forward(&x, given, &mut passed)?;
        }
        let x = self.conv_norm_out.forward_silu(&x)?;
        Ok(self.conv_out.forward(&x)?.f_to_kind(Kind::Float)?)
    }
}

fn down_blocks(scope: &Scope, sizes: &Sizes) -> Result<Vec<DownBlock>> {
    let [attends, _] = &sizes.attends;
    let mut inputs = sizes.channels.first().copied().unwrap_or(0);
    let (last, _) = sizes.coarsest();
    let block = |(index, (&channels, &attends)): (usize, (&i64, &bool))| {
        let level = Level {
            sizes,
            index,
            channels,
        };
        let inputs = std::mem::replace(&mut inputs, channels);
        DownBlock::new(&scope.at(index), &level, inputs, attends, index == last)
    };
    let levels = sizes.channels.iter().zip(attends).enumerate();
    levels.map(block).collect()
}

/// From the coarsest level to the finest, the opposite of the levels' numbers.
fn up_blocks(scope: &Scope, sizes: &Sizes) -> Result<Vec<UpBlock>> {
    let [_, attends] = &sizes.attends;
    let (_, mut inputs) = sizes.coarsest();
    let block = |(number, ((index, &channels), &attends)): (usize, ((usize, &i64), &bool))| {
        let level = Level {
            sizes,
            index,
            channels,
        };
        let finer = sizes.channels.get(index.saturating_sub(1));
        let inputs = std::mem::replace(&mut inputs, channels);
        let skip = finer.copied().unwrap_or(channels);
        UpBlock::new(&scope.at(number), &level, inputs, skip, attends)
    };
    let levels = sizes.channels.iter().enumerate().rev().zip(attends);
    levels.enumerate().map(block).collect()
}
