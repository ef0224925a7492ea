//! Reading a part's configuration: what a model here does not do must not be asked for.

use crate::error::{ModelError, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

/// Reads `path` as a configuration in which each key of `fixed` is absent or one of the values beside it.
///
/// # Errors
/// A file that is absent or malformed; [`ModelError::Config`] for a value that this code does not follow.
pub(super) fn read<C: DeserializeOwned>(
    path: &Path,
    fixed: &[(&'static str, &[Value])],
) -> Result<C> {
    let text = std::fs::read_to_string(path).map_err(ModelError::io(path))?;
    // diffusers writes infinities, which JSON does not have; here they stand for "no bound".
    let text = text.replace(": -Infinity", ": null");
    let config: Value = serde_json::from_str(&text).map_err(ModelError::json(path))?;
    for (key, allowed) in fixed {
        let Some(found) = config.get(key) else {
            continue;
        };
        if !allowed.contains(found) {
            let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
            let why = format!("{found} is not supported; use {}", allowed.join(" or "));
            return Err(ModelError::Config { key, why });
        }
    }
    serde_json::from_value(config).map_err(ModelError::json(path))
}
