//! How an attempt at a slot ends: settled with a candidate, lost, or put off.

use saga_chassis::status;
use saga_proto::{
    generator::v1::{Candidate, Outcome},
    guard::v1 as guard,
};
use tonic_types::StatusExt as _;

use super::{RunError, pauses::Pause};
use crate::remote::RemoteError;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The label store settled it.
    Settled {
        /// Now part of the synthetic images.
        admitted: bool,
        /// What went wrong, where it ended in an error.
        error: Option<String>,
    },
    /// The slot is no longer this orchestrator's: its lease ran out.
    Lost(String),
    /// The backend rests; the attempt is still to be made.
    Later(Later),
    /// The run's money is spent; the attempt is not made.
    BudgetSpent(String),
}

/// Why an attempt is put off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Later {
    /// The backend's quota is used up: nothing was asked.
    Quota(Pause),
    /// A batch is under way, with the answer to this attempt.
    Batch(Pause),
}

impl Later {
    /// What the backend said.
    pub(super) fn pause(&self) -> &Pause {
        match self {
            Self::Quota(pause) | Self::Batch(pause) => pause,
        }
    }
}

/// What is known of a candidate before it is settled.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) candidate: Candidate,
    pub(super) decision: guard::Decision,
    pub(super) rejected_by: String,
    pub(super) error: String,
    /// Empty where embeddings are not compared.
    pub(super) embedding: Vec<f32>,
}

impl Made {
    /// Whether all gates accepted it.
    pub(super) fn accepted(&self) -> bool {
        self.rejected_by.is_empty()
    }

    pub(super) fn error(candidate: Candidate, error: String) -> Self {
        Self {
            candidate,
            rejected_by: "error".into(),
            error,
            ..Self::default()
        }
    }
}

/// How an attempt ends whose request the generator does not take now, though nothing is wrong with it.
pub(super) fn not_now(error: &RunError) -> Option<Ended> {
    let RunError::Remote(RemoteError { status, .. }) = error else {
        return None;
    };
    let why = status.message().to_owned();
    let later = |later: fn(Pause) -> Later| {
        let wait = status.get_details_retry_info()?.retry_delay?;
        Some(Ended::Later(later(Pause {
            wait,
            why: why.clone(),
        })))
    };
    match status::reason(status)?.as_str() {
        "QUOTA_EXHAUSTED" => later(Later::Quota),
        "BATCH_PENDING" => later(Later::Batch),
        "BUDGET_SPENT" => Some(Ended::BudgetSpent(why)),
        _ => None,
    }
}

/// Who rejected an answer without an image, for example "generator:safety_block".
pub(super) fn rejection(outcome: Outcome) -> String {
    let name = outcome.as_str_name();
    let name = name.strip_prefix("OUTCOME_").unwrap_or(name);
    format!("generator:{}", name.to_lowercase())
}
