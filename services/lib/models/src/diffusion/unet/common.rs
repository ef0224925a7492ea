//! What the configurations of both UNets have in common: keys that may say one thing only, and types of blocks.

use crate::diffusion::config;
use crate::error::{ModelError, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;

/// What a level is made of, as diffusers names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockType {
    DownBlock2D,
    CrossAttnDownBlock2D,
    AttnDownBlock2D,
    UpBlock2D,
    CrossAttnUpBlock2D,
    AttnUpBlock2D,
}

/// Which levels attend, on the way down and up.
pub(super) fn attends(blocks: [&[BlockType]; 2]) -> [Vec<bool>; 2] {
    let plain = |kind: &BlockType| matches!(kind, BlockType::DownBlock2D | BlockType::UpBlock2D);
    blocks.map(|kinds| kinds.iter().map(|kind| !plain(kind)).collect())
}

/// Checks that there are levels, 8 at most, as many blocks down and up, and each a plain one or the `attending` one of its way.
///
/// # Errors
/// [`ModelError::Config`] naming the key and the block.
pub(super) fn check_blocks(
    levels: usize,
    [down, up]: [&[BlockType]; 2],
    [attending_down, attending_up]: [BlockType; 2],
) -> Result<()> {
    let given = [down.len(), up.len()];
    if given != [levels; 2] || !(1..=8).contains(&levels) {
        let why =
            format!("{given:?} block types for {levels} levels of channels; use as many, 1 to 8");
        return Err(ModelError::Config {
            key: "down_block_types",
            why,
        });
    }
    for (key, kinds, known) in [
        (
            "down_block_types",
            down,
            [BlockType::DownBlock2D, attending_down],
        ),
        ("up_block_types", up, [BlockType::UpBlock2D, attending_up]),
    ] {
        if let Some(kind) = kinds.iter().find(|kind| !known.contains(kind)) {
            let why = format!(
                "{kind:?} is not supported; use {:?} or {:?}",
                known[0], known[1]
            );
            return Err(ModelError::Config { key, why });
        }
    }
    Ok(())
}

/// Reads the configuration of a diffusers class; beside the keys that both UNets have, those of `fixed` may say one thing only.
pub(super) fn read<C: DeserializeOwned>(
    path: &Path,
    class: &str,
    fixed: &[(&'static str, &[Value])],
) -> Result<C> {
    let shared: [(_, &[Value]); 9] = [
        ("_class_name", &[json!(class)]),
        ("act_fn", &[json!("silu")]),
        ("center_input_sample", &[json!(false)]),
        ("class_embed_type", &[Value::Null]),
        ("downsample_padding", &[json!(1)]),
        ("mid_block_scale_factor", &[json!(1), json!(1.0)]),
        ("resnet_time_scale_shift", &[json!("default")]),
        ("time_embedding_dim", &[Value::Null]),
        ("time_embedding_type", &[json!("positional")]),
    ];
    config::read(path, &[&shared, fixed].concat())
}
