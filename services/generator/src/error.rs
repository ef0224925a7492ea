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
    /// A remote backend has no quota left for now.
    #[error("{message}")]
    Quota {
        message: String,
        retry_after: Duration,
    },
    /// It is being made, but not now: a batch.
    #[error("{message}")]
    Pending {
        message: String,
        retry_after: Duration,
    },
    /// The state of things does not allow it: a spent budget, no key, used up tries.
    #[error("{message}")]
    Refused {
        /// A stable upper-case word.
        reason: String,
        message: String,
    },
    /// The label store, whose ledger remote backends need, does not do its part.
    #[error("the ledger at {address}: {message}")]
    Ledger { address: String, message: String },
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

    /// Something that the state of things does not allow; `reason` is a stable upper-case word.
    pub fn refused(reason: &str, message: impl Into<String>) -> Self {
        Self::Refused {
            reason: reason.to_owned(),
            message: message.into(),
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
            GenerateError::Quota { retry_after, .. } => {
                status::quota_exhausted("QUOTA_EXHAUSTED", message, retry_after)
            }
            GenerateError::Pending { retry_after, .. } => {
                status::quota_exhausted("BATCH_PENDING", message, retry_after)
            }
            GenerateError::Refused { reason, .. } => status::failed_precondition(&reason, message),
            GenerateError::Ledger { .. } => status::unavailable("LEDGER_FAILED", message),
            GenerateError::Internal(_) => status::internal("GENERATOR_FAILED", message),
        }
    }
}
