//! Why a model could not be exported: each message says what to do about it.

use saga_models::{
    ModelError,
    tch::{Kind, TchError},
};
use std::path::{Path, PathBuf};

/// What stands in the way of an export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
    #[error("cannot read or write {path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    /// ONNX has one space of names for inputs, outputs, weights and what is computed.
    #[error(
        "the name {name:?} would stand for two things in the ONNX graph; rename that tensor of the checkpoint"
    )]
    NameClash { name: String },
    #[error("the checkpoint lacks the tensor {name:?} that the graph needs")]
    MissingTensor { name: String },
    #[error("tensor {name:?} holds elements of type {kind:?}, which this form has no place for")]
    ElementType { name: String, kind: Kind },
    #[error("tensor {name:?} holds values beyond {limit}, f16's largest; export it in f32")]
    Overflow { name: String, limit: f64 },
    #[error(
        "{file} would give other numbers than the model: {drift:.2e} apart, over {most:.0e}; please report this"
    )]
    Drift {
        file: &'static str,
        drift: f64,
        most: f64,
    },
    #[error(
        "{file} in f16 would give other numbers than the model: {drift:.2e} of their size apart, over {most}; nothing was written, use f32"
    )]
    HalfDrift {
        file: &'static str,
        drift: f64,
        most: f64,
    },
    #[error("too few pictures to prove 8-bit integers with; {needed} are enough")]
    TooFewPictures { needed: usize },
    #[error(
        "8-bit integers with fixed ranges need pictures to take the ranges from: give a folder of them, or use int8-dynamic"
    )]
    NoCalibration,
    #[error(
        "{agreeing} of {of} answers in 8-bit integers are those of f32, less than {least:.0} %; nothing was written, use f16 or f32"
    )]
    Disagreement {
        agreeing: usize,
        of: usize,
        /// Percent.
        least: f64,
    },
    #[error("{path} is there already; give --out a new name, or remove it")]
    Occupied { path: PathBuf },
    #[error(
        "the model has SAGA's head (Linear, BatchNorm, GELU, Linear), which ViTForImageClassification has not; export it to onnx or pth, \
         or train with head = \"linear\""
    )]
    SagaHead,
    #[error("{path} is not the record that was expected: {source}")]
    Record {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "run {run} trained other weights than these of revision {revision}; give the folder of the run that made them"
    )]
    OtherRun { revision: String, run: String },
    /// A graph that cannot be evaluated is a mistake of this crate.
    #[error("the graph cannot be evaluated at {node:?}: {why}")]
    Graph { node: String, why: String },
}

impl ExportError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

pub(crate) type Result<T> = std::result::Result<T, ExportError>;
