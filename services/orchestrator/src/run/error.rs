//! Why a run stops before its end.

use saga_chassis::status;
use tonic::Status;

use crate::{guard::GuardError, recipe::RecipeError, remote::RemoteError};

/// A run that cannot go on. What it did so far is kept; starting it again goes on from there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// Another service failed, all retries included.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The guard cannot judge.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The recipe cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The request is no good.
    #[error("{field}: {why}")]
    Invalid {
        /// Field of the request.
        field: &'static str,
        /// What is wrong and what to do.
        why: String,
    },
    /// The run exists with other settings.
    #[error("run {run_id:?} {why}")]
    Conflict {
        /// The run.
        run_id: String,
        /// What differs and what to do.
        why: String,
    },
    /// Another run is under way here.
    #[error(
        "run {active:?} is under way; wait for its end or cancel it: runs share the gates' models"
    )]
    Busy {
        /// The run under way.
        active: String,
    },
    /// The run is unknown, or has no results yet.
    #[error("{0}")]
    NotFound(String),
    /// What the data or another service gave makes no sense.
    #[error("{0}")]
    Data(String),
    /// Too many attempts in a row ended in errors; more would only burn the plan.
    #[error(
        "{count} attempts in a row ended in errors; mend the cause and start the run again. The last: {last}"
    )]
    Failing {
        /// Attempts.
        count: u32,
        /// The last error.
        last: String,
    },
    /// Someone asked for the end.
    #[error("the run was cancelled; start it again to go on")]
    Cancelled,
}

impl From<RunError> for Status {
    fn from(error: RunError) -> Self {
        let message = error.to_string();
        match error {
            RunError::Remote(remote) => {
                let found = remote.status;
                Status::with_details(found.code(), message, found.details().to_vec().into())
            }
            RunError::Guard(guard) => guard.into(),
            RunError::Recipe(recipe) => status::invalid_argument(recipe.key(), recipe.to_string()),
            RunError::Invalid { field, why } => status::invalid_argument(field, why),
            RunError::Conflict { .. } => status::already_exists("RUN_EXISTS", message),
            RunError::Busy { .. } => status::failed_precondition("RUN_ACTIVE", message),
            RunError::NotFound(_) => status::not_found("RUN_UNKNOWN", message),
            RunError::Data(_) => status::failed_precondition("DATA", message),
            RunError::Failing { .. } => status::unavailable("FAILING", message),
            RunError::Cancelled => Status::cancelled(message),
        }
    }
}
