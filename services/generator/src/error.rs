//! Why a request gets no answer, and the one place where that becomes a gRPC status.

use std::time::Duration;

use saga_chassis::status;
use saga_imaging::DecodeError;
use tonic::Status;

/// How long a shed caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Why there is no answer. That a backend found no image to give is an answer, not an error.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GenerateError {
    /// The request is not one that can be met.
    #[error("{field}: {why}")]
    Invalid {
        /// As in the contract: "spec.source.data".
        field: String,
        /// What is wrong, the limit, and what to do.
        why: String,
    },
    /// All room is taken.
    #[error(
        "{limit} requests are under way or waiting; try again later or use GenerateStream, which waits"
    )]
    Busy {
        /// `work.queue_capacity`.
        limit: usize,
    },
    /// A mistake of this program.
    #[error("the backend failed: {0}")]
    Internal(String),
}

impl GenerateError {
    /// A field that holds what it may not.
    pub fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            why: why.into(),
        }
    }

    /// Bytes that are no image.
    pub fn image(field: impl Into<String>, error: &DecodeError) -> Self {
        Self::invalid(field, error.to_string())
    }
}

impl From<GenerateError> for Status {
    fn from(error: GenerateError) -> Self {
        let message = error.to_string();
        match error {
            GenerateError::Invalid { field, why } => status::invalid_argument(field, why),
            GenerateError::Busy { .. } => status::resource_exhausted(message, RETRY_AFTER),
            GenerateError::Internal(_) => status::internal("GENERATOR_FAILED", message),
        }
    }
}
