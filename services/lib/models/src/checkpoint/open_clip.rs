//! CLIP: OpenAI's and open_clip's names, and the configuration that shapes and open_clip_config.json tell.

use super::{Architecture, Checkpoint, Tensors, count, preset, replaced, shape, unprefixed};
use crate::clip::{Config, TextConfig, VisionConfig};
use crate::error::{ModelError, Result};
use crate::layers::Activation;
use serde::Deserialize;
use serde_json::Value;
use tch::Tensor;

/// Name of open_clip's configuration file.
pub(super) const CONFIG: &str = "open_clip_config.json";

const RULES: &[(&str, &str)] = &[
    (
        "visual.class_embedding",
        "vision_model.embeddings.class_embedding",
    ),
    (
        "visual.positional_embedding",
        "vision_model.embeddings.position_embedding.weight",
    ),
    ("visual.conv1.", "vision_model.embeddings.patch_embedding."),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("visual.proj", "visual_projection.weight"),
    ("token_embedding.", "text_model.embeddings.token_embedding."),
    (
        "positional_embedding",
        "text_model.embeddings.position_embedding.weight",
    ),
    ("ln_final.", "text_model.final_layer_norm."),
    ("text_projection", "text_projection.weight"),
];
const BLOCK_RULES: &[(&str, &str)] = &[
    ("ln_1.", "layer_norm1."),
    ("attn.out_proj.", "self_attn.out_proj."),
    ("ln_2.", "layer_norm2."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
];
const TOWERS: &[(&str, &str)] = &[
    ("visual.transformer.resblocks.", "vision_model"),
    ("transformer.resblocks.", "text_model"),
];
/// Kept as matrices that multiply from the right, unlike every linear map.
const TRANSPOSED: [&str; 2] = ["visual.proj", "text_projection"];
/// What OpenAI's archives hold beside weights.
const CONSTANTS: [&str; 4] = [
    "attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
];

/// Numbers of attention heads, which are not in the shapes; None: 64 numbers a head, as in every published CLIP.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heads {
    pub(super) vision: Option<i64>,
    pub(super) text: Option<i64>,
}

/// open_clip_config.json.
#[derive(Deserialize)]
struct OpenClip {
    model_cfg: ModelCfg,
    #[serde(default)]
    preprocess_cfg: preset::OpenClip,
}

#[derive(Deserialize)]
struct ModelCfg {
    #[serde(default)]
    quick_gelu: bool,
    vision_cfg: VisionCfg,
    text_cfg: TextCfg,
}

#[derive(Deserialize)]
struct VisionCfg {
    width: Option<i64>,
    head_width: Option<i64>,
    timm_model_name: Option<String>,
}

#[derive(Deserialize)]
struct TextCfg {
    heads: Option<i64>,
    hf_model_name: Option<String>,
}

/// A directory that open_clip wrote.
pub(super) fn checkpoint(config: &Value, tensors: Tensors) -> Result<Checkpoint> {
    let config: OpenClip = super::parsed(config)?;
    let (vision, text) = (config.model_cfg.vision_cfg, config.model_cfg.text_cfg);
    if let Some(other) = vision.timm_model_name.or(text.hf_model_name) {
        let why = format!("uses the tower {other:?}; only CLIP's own transformers are supported");
        return Err(ModelError::Config {
            key: "model_cfg",
            why,
        });
    }
    let heads = Heads {
        vision: vision
            .width
            .map(|width| width / vision.head_width.unwrap_or(64).max(1)),
        text: text.heads,
    };
    let activation = match config.model_cfg.quick_gelu {
        true => Activation::QuickGelu,
        false => Activation::Gelu,
    };
    let tensors = renamed(unprefixed(tensors))?;
    let config_of_shapes = inferred(&tensors, activation, heads)?;
    let side = config_of_shapes.vision_config.image_size;
    Ok(Checkpoint::of(
        Architecture::Clip(config_of_shapes),
        Some(config.preprocess_cfg.config(side as u32)?),
        tensors,
    ))
}

/// Whether the names are open_clip's.
pub(super) fn is_open_clip(tensors: &Tensors) -> bool {
    tensors.contains_key("visual.class_embedding")
}

/// Under Hugging Face's names; the joint query, key and value come apart.
pub(super) fn renamed(tensors: Tensors) -> Result<Tensors> {
    if !is_open_clip(&tensors) {
        return Ok(tensors);
    }
    let mut out = Tensors::new();
    for (name, tensor) in tensors {
        if CONSTANTS.contains(&name.as_str()) {
            continue;
        }
        let tensor = match TRANSPOSED.contains(&name.as_str()) && tensor.dim() == 2 {
            true => tensor.f_transpose(0, 1)?,
            false => tensor,
        };
        match in_block(&name) {
            Some((layer, rest)) => block(&mut out, &name, &layer, rest, tensor)?,
            None => {
                out.insert(replaced(&name, RULES).unwrap_or(name), tensor);
            }
        }
    }
    Ok(out)
}

/// Hugging Face's name of the layer, and the rest of the name.
fn in_block(name: &str) -> Option<(String, &str)> {
    let (rest, tower) = TOWERS
        .iter()
        .find_map(|(prefix, tower)| Some((name.strip_prefix(prefix)?, tower)))?;
    let (index, rest) = rest.split_once('.')?;
    Some((format!("{tower}.encoder.layers.{index}"), rest))
}

fn block(out: &mut Tensors, name: &str, layer: &str, rest: &str, tensor: Tensor) -> Result<()> {
    let divides = tensor.size().first().is_some_and(|rows| rows % 3 == 0);
    match (
        rest.strip_prefix("attn.in_proj_"),
        replaced(rest, BLOCK_RULES),
    ) {
        (Some(kind), _) if divides => {
            for (part, which) in tensor.f_chunk(3, 0)?.into_iter().zip(["q", "k", "v"]) {
                out.insert(format!("{layer}.self_attn.{which}_proj.{kind}"), part);
            }
        }
        (_, Some(renamed)) => {
            out.insert(format!("{layer}.{renamed}"), tensor);
        }
        (_, None) => {
            out.insert(name.to_owned(), tensor);
        }
    }
    Ok(())
}

/// The configuration of tensors under Hugging Face's names.
pub(super) fn inferred(tensors: &Tensors, activation: Activation, heads: Heads) -> Result<Config> {
    let (text, vision) = ("text_model", "vision_model");
    let [vocab_size, text_width] = shape(
        tensors,
        &format!("{text}.embeddings.token_embedding.weight"),
    )?;
    let [max_position_embeddings, _] = shape(
        tensors,
        &format!("{text}.embeddings.position_embedding.weight"),
    )?;
    let [vision_width, num_channels, patch_size, _] = shape(
        tensors,
        &format!("{vision}.embeddings.patch_embedding.weight"),
    )?;
    let [positions, _] = shape(
        tensors,
        &format!("{vision}.embeddings.position_embedding.weight"),
    )?;
    let [projection_dim, _] = shape(tensors, "text_projection.weight")?;
    let inner = |tower: &str| {
        let name = format!("{tower}.encoder.layers.0.mlp.fc1.weight");
        Ok::<_, ModelError>(shape::<2>(tensors, &name)?[0])
    };
    let depth = |tower: &str| count(tensors, &format!("{tower}.encoder.layers.")) as i64;
    let side = ((positions - 1).max(0) as f64).sqrt().round() as i64;
    let last = u32::try_from(vocab_size - 1).unwrap_or_default();
    Ok(Config {
        projection_dim,
        text_config: TextConfig {
            vocab_size,
            hidden_size: text_width,
            intermediate_size: inner(text)?,
            num_hidden_layers: depth(text),
            num_attention_heads: heads.text.unwrap_or((text_width / 64).max(1)),
            max_position_embeddings,
            hidden_act: activation,
            // The end of a text is the last of the vocabulary, its begin the one before.
            bos_token_id: last.saturating_sub(1),
            eos_token_id: last,
            ..TextConfig::default()
        },
        vision_config: VisionConfig {
            hidden_size: vision_width,
            intermediate_size: inner(vision)?,
            num_hidden_layers: depth(vision),
            num_attention_heads: heads.vision.unwrap_or((vision_width / 64).max(1)),
            num_channels,
            image_size: side * patch_size,
            patch_size,
            hidden_act: activation,
            ..VisionConfig::default()
        },
        ..Config::default()
    })
}
