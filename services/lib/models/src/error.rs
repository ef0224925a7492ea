//! What can go wrong with a model: one small enum, each message with its context and the way out.

use crate::pickle::PickleError;
use std::path::{Path, PathBuf};

/// Why a model could not be built, loaded, run or saved.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("cannot read or write {path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not the JSON that was expected: {source}")]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// A configuration that is well-formed but asks for something impossible or unknown here.
    #[error("configuration key {key}: {why}")]
    Config { key: &'static str, why: String },
    #[error("{path} is not a valid safetensors file: {source}")]
    Safetensors {
        path: PathBuf,
        source: safetensors::SafeTensorError,
    },
    /// What is wrong with one part of a pipeline's directory.
    #[error("{path}: {source}")]
    Component {
        path: PathBuf,
        source: Box<ModelError>,
    },
    #[error("PyTorch checkpoint: {0}")]
    Pickle(#[from] PickleError),
    #[error("weights do not fit the model that the configuration describes: {0}")]
    Weights(#[from] WeightMismatch),
    #[error("golden.safetensors {0}")]
    Golden(String),
    #[error("SHA256SUMS {0}")]
    Checksums(String),
    #[error("int8.safetensors {0}")]
    Int8(String),
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    #[error("device {device:?}: {why}")]
    Device { device: String, why: String },
    #[error("precision {precision:?}: {why}")]
    Precision { precision: String, why: String },
    /// What a diffusion came to.
    #[error("the latents of the image became NaN or infinite; use precision f32, or other weights")]
    NotFinite,
    #[error("input: {0}")]
    Input(String),
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl ModelError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn component(path: &Path) -> impl FnOnce(Self) -> Self {
        let path = path.to_path_buf();
        move |error| Self::Component {
            path,
            source: Box::new(error),
        }
    }

    pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Json { path, source }
    }
}

/// How a file of weights differs from what the model needs. Tensor names are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightMismatch {
    /// Tensors that the model has and the file lacks.
    pub missing: Vec<String>,
    /// Tensors that the file has and the model does not know.
    pub surplus: Vec<String>,
    /// Tensors whose shape or element type differs: "name: expected X, found Y".
    pub misshapen: Vec<String>,
}

impl WeightMismatch {
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty() && self.misshapen.is_empty()
    }
}

impl std::error::Error for WeightMismatch {}

impl std::fmt::Display for WeightMismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let groups = [
            ("missing", &self.missing),
            ("surplus", &self.surplus),
            ("misshapen", &self.misshapen),
        ];
        let mut separator = "";
        for (what, names) in groups.into_iter().filter(|(_, names)| !names.is_empty()) {
            write!(
                f,
                "{separator}{} {what} ({})",
                names.len(),
                names.join(", ")
            )?;
            separator = "; ";
        }
        Ok(())
    }
}

pub(crate) type Result<T> = std::result::Result<T, ModelError>;
