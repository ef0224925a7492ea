//! Whether a checkpoint has the shapes that a request asks for.

use serde::Serialize;
use serde_json::Value;

use crate::error::TrainError;

/// Keys of config.json that decide the shapes of a backbone.
const SHAPES: [&str; 14] = [
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "embedding_size",
    "hidden_sizes",
    "depths",
    "layer_type",
    "num_channels",
    "downsample_in_first_stage",
    "downsample_in_bottleneck",
];

/// A configuration as its config.json has it.
pub fn json(config: &impl Serialize) -> Result<Value, TrainError> {
    serde_json::to_value(config).map_err(|error| TrainError::Thread(error.to_string()))
}

/// A checkpoint's backbone must have the request's shapes; every key that differs is named.
pub fn same(found: &Value, wanted: &Value) -> Result<(), TrainError> {
    let differing: Vec<String> = SHAPES
        .iter()
        .filter(|key| found.get(key) != wanted.get(key))
        .map(|key| {
            let value = |of: &Value| of.get(key).unwrap_or(&Value::Null).to_string();
            format!("{key} is {}, not {}", value(found), value(wanted))
        })
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    let why = format!(
        "holds a model of another architecture than the request's: {}",
        differing.join("; ")
    );
    Err(TrainError::field("init_from", why))
}
