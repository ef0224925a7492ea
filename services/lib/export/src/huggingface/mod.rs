//! Hugging Face directories that transformers loads unchanged: configuration, preprocessing, weights, tokenizer, and a model card
//! that tells where the model comes from and how good it is.

mod card;
mod interval;

use crate::error::{ExportError, Result};
use crate::source::Source;
use saga_models::checkpoint::Architecture;
use saga_models::{ModelError, directory};
use std::path::Path;

/// The files that make a tokenizer.
const TOKENIZER: [&str; 6] = [
    directory::TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    directory::VOCAB,
    directory::MERGES,
];

/// Writes a model directory of any layout as transformers' into the new folder `out`. `run` is the folder of the run that
/// trained it, for the card.
///
/// # Errors
/// [`ExportError::Occupied`] where `out` exists; [`ExportError::SagaHead`] for a head that no class of transformers has;
/// [`ExportError::OtherRun`] where the run trained other weights; a model or record that cannot be read.
pub fn export(dir: &Path, out: &Path, run: Option<&Path>) -> Result<()> {
    if out.exists() {
        return Err(ExportError::Occupied {
            path: out.to_path_buf(),
        });
    }
    let source = Source::read(dir)?;
    if let Architecture::Vit(config) = &source.architecture
        && config.saga_head.is_some()
    {
        return Err(ExportError::SagaHead);
    }
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let card = card::write(&name, dir, &source.architecture, run)?;
    directory::replace(out, |new| {
        let config = new.join(directory::CONFIG);
        match &source.architecture {
            Architecture::Vit(architecture) => directory::write_json(&config, architecture)?,
            Architecture::ResNet(architecture) => directory::write_json(&config, architecture)?,
            Architecture::Clip(architecture) => directory::write_json(&config, architecture)?,
        }
        source.preprocessor.config().write(new)?;
        saga_models::weights::save(&source.tensors, &new.join(directory::WEIGHTS))?;
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| ModelError::Io { path, source }
        };
        for file in TOKENIZER
            .map(|file| dir.join(file))
            .iter()
            .filter(|file| file.is_file())
        {
            let to = new.join(file.file_name().unwrap_or_default());
            std::fs::copy(file, to).map_err(io(file))?;
        }
        let path = new.join(directory::MODEL_CARD);
        std::fs::write(&path, card).map_err(io(&path))
    })?;
    Ok(())
}
