//! Why there is no explanation.

use saga_models::ModelError;
use tch::TchError;

use crate::subject::MAX_PIXELS;

/// Each message names what was asked and what may be.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("class {class} is out of range; the model has the classes 0 to {last}")]
    Class { class: usize, last: usize },
    #[error(
        "the model has no attention that could be rolled out; choose a method other than attention rollout"
    )]
    NoAttention,
    #[error(
        "{samples} samples do not determine the shares of {regions} regions; ask for {least} or more, {most} at most"
    )]
    TooFewSamples {
        samples: usize,
        regions: usize,
        least: usize,
        most: usize,
    },
    #[error("{what} has shape {found:?}; {wanted:?} is expected")]
    Shape {
        what: &'static str,
        found: Vec<i64>,
        wanted: Vec<i64>,
    },
    #[error(
        "the model takes pictures of {width}x{height} pixels, and the limit of explanations is {MAX_PIXELS} in all"
    )]
    TooManyPixels { width: u32, height: u32 },
    /// Whoever asked does not wait any more.
    #[error("stopped before the explanation was complete")]
    Stopped,
    #[error("the overlay cannot be written as PNG: {0}")]
    Png(#[from] image::ImageError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

pub(crate) type Result<T> = std::result::Result<T, ExplainError>;
