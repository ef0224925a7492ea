//! How an attempt at a slot ends: settled with a candidate, lost, or put off.

use std::time::Duration;

use saga_chassis::status;
use saga_proto::{
    generator::v1::{Candidate, Outcome},
    guard::v1 as guard,
};
use tonic_types::StatusExt as _;

use super::RunError;
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
    /// The backend's quota is used up, or a batch is under way, for so long; the attempt is still to be made.
    Later(Duration, String),
    /// The run's money is spent; the attempt is not made.
    BudgetSpent(String),
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
    let message = status.message().to_owned();
    match status::reason(status)?.as_str() {
        "QUOTA_EXHAUSTED" | "BATCH_PENDING" => {
            let retry = status.get_details_retry_info()?.retry_delay?;
            Some(Ended::Later(retry, message))
        }
        "BUDGET_SPENT" => Some(Ended::BudgetSpent(message)),
        _ => None,
    }
}

/// Who rejected an answer without an image, for example "generator:safety_block".
pub(super) fn rejection(outcome: Outcome) -> String {
    let name = outcome.as_str_name();
    let name = name.strip_prefix("OUTCOME_").unwrap_or(name);
    format!("generator:{}", name.to_lowercase())
}
