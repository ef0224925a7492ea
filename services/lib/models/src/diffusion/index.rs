//! model_index.json: which parts a diffusers directory has.

use super::lora::Lora;
use crate::directory;
use crate::error::{ModelError, Result};
use serde_json::Value;
use std::path::Path;

/// The parts and the classes they must be of; those of schedulers are the scheduler's to check.
const PARTS: [(&str, &str); 3] = [
    ("text_encoder", "CLIPTextModel"),
    ("unet", "UNet2DConditionModel"),
    ("vae", "AutoencoderKL"),
];

/// Names the weights by content, as [`directory::revision`] does: those of all parts and of the changes.
///
/// # Errors
/// A file that cannot be read.
pub fn revision(dir: &Path, loras: &[Lora]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for (part, _) in PARTS {
        hasher.update(directory::revision(&dir.join(part))?.as_bytes());
    }
    for Lora { path, scale } in loras {
        let file = std::fs::File::open(path).map_err(ModelError::io(path))?;
        hasher.update_reader(file).map_err(ModelError::io(path))?;
        hasher.update(&scale.to_le_bytes());
    }
    Ok(hasher.finalize().to_hex()[..16].to_string())
}

/// # Errors
/// [`ModelError::Component`] naming the file: absent, malformed, or of a pipeline whose parts are others.
pub(super) fn check(dir: &Path) -> Result<()> {
    let path = dir.join("model_index.json");
    let check = || {
        let index: Value = directory::read_json(&path)?;
        for (key, class) in PARTS {
            let found = &index[key][1];
            if found != class {
                let why = format!("{found} is not supported; use {class:?}");
                return Err(ModelError::Config { key, why });
            }
        }
        Ok(())
    };
    check().map_err(ModelError::component(&path))
}
