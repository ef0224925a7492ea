//! Why the guard gave no decision.

use saga_chassis::status;
use tonic::{Code, Status};

use crate::recipe::RecipeError;

/// No decision: a bad candidate, or a gate that did not judge.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GuardError {
    /// The candidate misses something.
    #[error("{field}: {why}")]
    Invalid {
        /// Field of the request.
        field: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// The candidate's recipe cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The recipe refers to a gate that nobody configured.
    #[error("gate {gate:?}: address {address:?} {why}")]
    Address {
        /// The gate's name in the recipe.
        gate: String,
        /// As in the recipe.
        address: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// Nobody answers, or the gate is not ready.
    #[error("gate {gate:?} at {address} is not available: {}", .status.message())]
    Unavailable {
        /// The gate's name in the recipe.
        gate: String,
        /// Where it was called.
        address: String,
        /// The transport's or the gate's answer.
        status: Box<Status>,
    },
    /// The gate refused the item.
    #[error("gate {gate:?} at {address}: {}", .status.message())]
    Refused {
        /// The gate's name in the recipe.
        gate: String,
        /// Where it was called.
        address: String,
        /// Its answer.
        status: Box<Status>,
    },
    /// The gate broke the contract.
    #[error("gate {gate:?} at {address} breaks the gate contract: {why}")]
    Contract {
        /// The gate's name in the recipe.
        gate: String,
        /// Where it was called.
        address: String,
        /// What it did.
        why: String,
    },
}

impl GuardError {
    pub(super) fn invalid(field: &str, why: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.to_owned(),
            why: why.into(),
        }
    }

    /// An answer of a gate that is no verdict.
    pub(super) fn of_gate(gate: &str, address: &str, status: Status) -> Self {
        let (gate, address) = (gate.to_owned(), address.to_owned());
        let (code, status) = (status.code(), Box::new(status));
        match code {
            Code::Unavailable | Code::Unimplemented | Code::FailedPrecondition => {
                Self::Unavailable {
                    gate,
                    address,
                    status,
                }
            }
            _ => Self::Refused {
                gate,
                address,
                status,
            },
        }
    }

    /// What the gate answered, where it did.
    pub(crate) fn status(&self) -> Option<&Status> {
        match self {
            Self::Unavailable { status, .. } | Self::Refused { status, .. } => Some(status),
            _ => None,
        }
    }
}

impl From<GuardError> for Status {
    fn from(error: GuardError) -> Self {
        let message = error.to_string();
        match error {
            GuardError::Invalid { field, why } => status::invalid_argument(field, why),
            GuardError::Recipe(recipe) => {
                status::invalid_argument("candidate.recipe", recipe.to_string())
            }
            GuardError::Address { .. } => status::failed_precondition("GATE_ADDRESS", message),
            GuardError::Unavailable { .. } => status::unavailable("GATE_UNAVAILABLE", message),
            GuardError::Refused { status, .. } => Status::with_details_and_metadata(
                status.code(),
                message,
                status.details().to_vec().into(),
                status.metadata().clone(),
            ),
            GuardError::Contract { .. } => status::internal("GATE_CONTRACT", message),
        }
    }
}
