//! One part of a pipeline, a folder with config.json and weights, from files to a model.

use crate::checkpoint::{self, Tensors};
use crate::directory;
use crate::error::{ModelError, Result};
use crate::runtime::{Precision, Runtime};
use crate::weights::Weights;
use std::path::Path;

/// Builds a model from the folder `dir`: `configure` reads its config.json, `change` is given its tensors before they are
/// converted to the precision, and `build` takes them.
///
/// # Errors
/// [`ModelError::Component`] naming the folder and what is wrong in it.
pub(super) fn load<Config, Model>(
    dir: &Path,
    runtime: Runtime,
    configure: impl FnOnce(&Path) -> Result<Config>,
    change: impl FnOnce(Tensors) -> Result<Tensors>,
    build: impl FnOnce(Config, &Weights) -> Result<Model>,
) -> Result<Model> {
    let read = || {
        let config = configure(&dir.join(directory::CONFIG))?;
        let tensors = change(checkpoint::of_directory(dir)?)?;
        let weights = Weights::taking(runtime.device, tensors, runtime.precision.kind());
        let model = build(config, &weights)?;
        weights.finish()?;
        Ok(model)
    };
    read().map_err(ModelError::component(dir))
}

/// Refuses integers, which are for transformers of classifiers and of CLIP.
///
/// # Errors
/// [`ModelError::Precision`].
pub(super) fn check_precision(runtime: Runtime) -> Result<()> {
    if runtime.precision != Precision::Int8 {
        return Ok(());
    }
    Err(ModelError::Precision {
        precision: runtime.precision.to_string(),
        why: "is not for diffusion; use f32, bf16 or f16".into(),
    })
}
