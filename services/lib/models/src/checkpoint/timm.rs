//! A directory or config.json of timm: `architecture` names the model, `pretrained_cfg` its preprocessing.

use super::{Architecture, Checkpoint, Tensors, preset, resnet, unprefixed, vit};
use crate::error::{ModelError, Result};
use serde::Deserialize;
use serde_json::Value;

/// timm's epsilon of its vision transformers' normalisations.
pub(super) const LAYER_NORM_EPS: f64 = 1e-6;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    architecture: String,
    global_pool: Option<String>,
    label_names: Option<Vec<String>>,
    #[serde(default)]
    model_args: serde_json::Map<String, Value>,
    #[serde(default)]
    pretrained_cfg: preset::Timm,
}

/// Reads what timm wrote.
pub(super) fn checkpoint(config: &Value, tensors: Tensors) -> Result<Checkpoint> {
    let config: Config = super::parsed(config)?;
    let tensors = unprefixed(tensors);
    let pool = config.global_pool.as_deref();
    let (mut architecture, tensors) = if vit::is_timm(&tensors) {
        if pool.is_some_and(|pool| pool != "token") {
            let why = format!("{pool:?} is not \"token\": only the class token is supported");
            return Err(ModelError::Config {
                key: "global_pool",
                why,
            });
        }
        let heads = config.model_args.get("num_heads").and_then(Value::as_i64);
        let tensors = vit::renamed(tensors)?;
        let config = vit::inferred(&tensors, LAYER_NORM_EPS, heads)?;
        (Architecture::Vit(config), tensors)
    } else if resnet::is_torchvision(&tensors) {
        let tensors = resnet::renamed(tensors);
        (Architecture::ResNet(resnet::inferred(&tensors)?), tensors)
    } else {
        let why = format!(
            "{:?} is not supported; use a vit_* or resnet* classifier",
            config.architecture
        );
        return Err(ModelError::Config {
            key: "architecture",
            why,
        });
    };
    if let Some(names) = config.label_names {
        architecture.name_classes(names)?;
    }
    Ok(Checkpoint::of(
        architecture,
        Some(config.pretrained_cfg.config()?),
        tensors,
    ))
}
