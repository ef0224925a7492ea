//! Vision transformers: timm's names, and the configuration that shapes tell.

use super::{Tensors, count, replaced, shape};
use crate::error::Result;
use crate::labels::Labels;
use crate::vit::{Config, SagaHead};

const RULES: &[(&str, &str)] = &[
    ("cls_token", "vit.embeddings.cls_token"),
    ("pos_embed", "vit.embeddings.position_embeddings"),
    (
        "patch_embed.proj.",
        "vit.embeddings.patch_embeddings.projection.",
    ),
    ("norm.", "vit.layernorm."),
    ("head.", "classifier."),
];
const BLOCK_RULES: &[(&str, &str)] = &[
    ("norm1.", "layernorm_before."),
    ("attn.proj.", "attention.output.dense."),
    ("norm2.", "layernorm_after."),
    ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
];

/// Whether the names are timm's.
pub(super) fn is_timm(tensors: &Tensors) -> bool {
    tensors.contains_key("patch_embed.proj.weight") && tensors.contains_key("cls_token")
}

/// Under Hugging Face's names; timm's joint query, key and value come apart.
pub(super) fn renamed(tensors: Tensors) -> Result<Tensors> {
    if !is_timm(&tensors) {
        return Ok(tensors);
    }
    let mut out = Tensors::new();
    for (name, tensor) in tensors {
        let block = name
            .strip_prefix("blocks.")
            .and_then(|rest| rest.split_once('.'));
        let Some((index, rest)) = block else {
            out.insert(replaced(&name, RULES).unwrap_or(name), tensor);
            continue;
        };
        let layer = format!("vit.encoder.layer.{index}");
        match (rest.strip_prefix("attn.qkv."), replaced(rest, BLOCK_RULES)) {
            (Some(kind), _) if tensor.size().first().is_some_and(|rows| rows % 3 == 0) => {
                for (part, which) in tensor
                    .f_chunk(3, 0)?
                    .into_iter()
                    .zip(["query", "key", "value"])
                {
                    out.insert(format!("{layer}.attention.attention.{which}.{kind}"), part);
                }
            }
            (_, Some(renamed)) => {
                out.insert(format!("{layer}.{renamed}"), tensor);
            }
            (_, None) => {
                out.insert(name, tensor);
            }
        }
    }
    Ok(out)
}

/// The configuration of tensors under Hugging Face's names. `heads` is not in the shapes: every published ViT has 64
/// numbers a head.
pub(super) fn inferred(
    tensors: &Tensors,
    layer_norm_eps: f64,
    heads: Option<i64>,
) -> Result<Config> {
    let embeddings = "vit.embeddings";
    let [hidden_size, num_channels, patch_size, _] = shape(
        tensors,
        &format!("{embeddings}.patch_embeddings.projection.weight"),
    )?;
    let [_, positions, _] = shape(tensors, &format!("{embeddings}.position_embeddings"))?;
    let [intermediate_size, _] = shape(tensors, "vit.encoder.layer.0.intermediate.dense.weight")?;
    let saga_head = tensors.contains_key("classifier.4.weight");
    let [classes, _] = match saga_head {
        true => shape(tensors, "classifier.4.weight")?,
        false => shape(tensors, "classifier.weight")?,
    };
    let saga_head = match saga_head {
        true => Some(SagaHead {
            hidden: shape::<2>(tensors, "classifier.0.weight")?[0],
            ..SagaHead::default()
        }),
        false => None,
    };
    let side = ((positions - 1).max(0) as f64).sqrt().round() as i64;
    Ok(Config {
        hidden_size,
        num_hidden_layers: count(tensors, "vit.encoder.layer.") as i64,
        num_attention_heads: heads.unwrap_or((hidden_size / 64).max(1)),
        intermediate_size,
        layer_norm_eps,
        image_size: side * patch_size,
        patch_size,
        num_channels,
        saga_head,
        classes: Labels::unnamed(classes as usize),
        ..Config::default()
    })
}
