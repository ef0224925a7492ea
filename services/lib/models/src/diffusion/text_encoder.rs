//! Prompts to what a UNet attends to: CLIP's text tower, every token of it, as Stable Diffusion uses transformers'
//! `CLIPTextModel`.

use super::part;
use crate::checkpoint::Tensors;
use crate::clip::{TextConfig, TextModel};
use crate::directory;
use crate::error::{ModelError, Result};
use crate::runtime::Runtime;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// A text tower with its tokenizer, for serving.
pub struct TextEncoder {
    tokenizer: Tokenizer,
    /// Fills shorter prompts up; they all have as many tokens as the tower has positions.
    pad: u32,
    text_model: TextModel,
    config: TextConfig,
    kind: Kind,
    device: Device,
}

impl TextEncoder {
    /// Loads the folders `text_encoder` and `tokenizer` of the diffusers directory `dir`; `change` is given the tensors first.
    ///
    /// # Errors
    /// [`ModelError::Component`] naming the folder and the file, configuration key or tensor.
    pub fn load(
        dir: &Path,
        runtime: Runtime,
        change: impl FnOnce(Tensors) -> Result<Tensors>,
    ) -> Result<Self> {
        let configure = |path: &Path| {
            let config: TextConfig = directory::read_json(path)?;
            config.check()?;
            Ok(config)
        };
        let build = |config: TextConfig, weights: &Weights| {
            let mut model = TextModel::new(&weights.root().at("text_model"), &config)?;
            model.seal()?;
            Ok((config, model))
        };
        let folder = dir.join("text_encoder");
        let (config, text_model) = part::load(&folder, runtime, configure, change, build)?;
        let folder = dir.join("tokenizer");
        let (tokenizer, pad) =
            tokenizer(&folder, &config).map_err(ModelError::component(&folder))?;
        Ok(Self {
            tokenizer,
            pad,
            text_model,
            config,
            kind: runtime.precision.kind(),
            device: runtime.device,
        })
    }

    /// Width of a token's embedding.
    pub fn width(&self) -> i64 {
        self.config.hidden_size
    }

    /// Embeddings [N, positions, width] of the prompts; words beyond the positions are cut off.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`]; what libtorch says.
    pub fn forward(&self, prompts: &[&str]) -> Result<Tensor> {
        let positions = self.config.max_position_embeddings;
        let mut ids = Vec::new();
        for prompt in prompts {
            let tokens = self.tokenizer.encode(prompt)?.ids.into_iter();
            let padded = tokens.chain(std::iter::repeat(self.pad));
            ids.extend(padded.take(positions as usize).map(i64::from));
        }
        let ids = Tensor::f_from_slice(&ids)?.f_reshape([-1, positions])?;
        self.text_model
            .last_hidden_state(&ids.f_to_device(self.device)?, self.kind)
    }
}

fn tokenizer(dir: &Path, config: &TextConfig) -> Result<(Tokenizer, u32)> {
    let tokenizer = Tokenizer::from_dir(dir, config.max_position_embeddings as usize)?;
    let known = tokenizer.vocab_size();
    if known as i64 > config.vocab_size {
        let vocabulary = config.vocab_size;
        return Err(ModelError::Tokenizer(format!(
            "has {known} tokens, the text encoder {vocabulary}; do they belong together?"
        )));
    }
    let pad = tokenizer.pad(dir)?;
    Ok((tokenizer, pad))
}
