//! Why a training job ends without a model, and what a caller is told.

use std::path::PathBuf;

use tonic::Status;

/// Every way a job can fail.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("{field}: {why}")]
    InvalidField { field: &'static str, why: String },
    #[error(
        "data set '{dataset}' has no images in its {split} split; import images and split the data set first"
    )]
    EmptySplit {
        dataset: String,
        split: &'static str,
    },
    #[error(
        "no training image of class {}; add images (or accept synthetic ones), or leave the class out of the data set",
        .labels.join(", ")
    )]
    ClassWithoutImages { labels: Vec<String> },
    #[error("image '{image}' has the label '{label}', which is not a class of the data set ({})", .classes.join(", "))]
    UnknownLabel {
        image: String,
        label: String,
        classes: Vec<String>,
    },
    #[error("image '{image}' cannot be used: {why}")]
    BadImage { image: String, why: String },
    #[error(
        "the {split} split needs more than {limit} bytes of memory at {side}x{side}; raise limits.max_cache_bytes or lower architecture.image_size"
    )]
    TooManyImages {
        split: &'static str,
        limit: u64,
        side: u32,
    },
    #[error("label store at {address}: {}", .status.message())]
    Store {
        address: String,
        status: Box<Status>,
    },
    #[error(
        "output '{output}' is being written by another job; wait for it or choose another output"
    )]
    Busy { output: String },
    #[error("the loss is not finite at step {step}; lower settings.learning_rate or set settings.gradient_clip{}", kept_note(.kept))]
    Diverged { step: u32, kept: Option<PathBuf> },
    #[error("checkpoint: {0}; delete `.NAME.training` beside the output to train from the start")]
    Checkpoint(String),
    #[error(
        "the images or labels of data set '{dataset}' changed while they were read; send the request again when nothing is imported"
    )]
    DatasetChanged { dataset: String },
    #[error("cancelled")]
    Cancelled,
    #[error("the trainer is shutting down; send the request again when it is back")]
    ShuttingDown,
    #[error("{path}: {source}; check that the folder exists, is writable and has room", path = .path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Model(#[from] saga_models::ModelError),
    #[error("tensor computation failed: {0}")]
    Tensor(#[from] tch::TchError),
    #[error("the training thread ended unexpectedly: {0}")]
    Thread(String),
}

fn kept_note(kept: &Option<PathBuf>) -> String {
    kept.as_ref().map_or_else(String::new, |path| {
        format!("; the best weights before it are in {}", path.display())
    })
}

impl TrainError {
    /// A setting out of its limits.
    pub fn field(field: &'static str, why: impl Into<String>) -> Self {
        Self::InvalidField {
            field,
            why: why.into(),
        }
    }
}

impl From<TrainError> for Status {
    fn from(error: TrainError) -> Self {
        use saga_chassis::status;
        let message = error.to_string();
        match error {
            TrainError::InvalidField { field, why } => status::invalid_argument(field, why),
            TrainError::EmptySplit { .. } => status::failed_precondition("EMPTY_SPLIT", message),
            TrainError::ClassWithoutImages { .. } => {
                status::failed_precondition("CLASS_WITHOUT_IMAGES", message)
            }
            TrainError::UnknownLabel { .. } => {
                status::failed_precondition("UNKNOWN_LABEL", message)
            }
            TrainError::BadImage { .. } => status::failed_precondition("BAD_IMAGE", message),
            TrainError::TooManyImages { .. } => {
                status::failed_precondition("TOO_MANY_IMAGES", message)
            }
            TrainError::Store { status, .. } => Status::new(status.code(), message),
            TrainError::Busy { .. } => Status::aborted(message),
            TrainError::Diverged { .. } => status::failed_precondition("DIVERGED", message),
            TrainError::DatasetChanged { .. } => {
                status::failed_precondition("DATASET_CHANGED", message)
            }
            TrainError::ShuttingDown => status::unavailable("SHUTTING_DOWN", message),
            TrainError::Cancelled => Status::cancelled(message),
            TrainError::Io { .. }
            | TrainError::Checkpoint(_)
            | TrainError::Model(_)
            | TrainError::Tensor(_)
            | TrainError::Thread(_) => status::internal("TRAINING_FAILED", message),
        }
    }
}
