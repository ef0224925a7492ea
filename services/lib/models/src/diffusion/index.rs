//! model_index.json: which parts a diffusers directory has.

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
