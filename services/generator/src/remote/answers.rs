//! How one try at a remote server ends.

use std::time::Duration;

use crate::backend::Outcome;

/// The server's answer to a request, with an image or without.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub outcome: Outcome,
    /// What it cost in US dollars.
    pub cost_usd: f64,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub outcome: Outcome,
    /// US dollars, where they follow from the answer; `None`: its kind's price.
    pub cost_usd: Option<f64>,
}

impl From<Outcome> for Answered {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            cost_usd: None,
        }
    }
}

/// Why a try brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The key has no quota left.
    #[error("{message}")]
    Limited {
        /// When the server says to come back.
        retry_after: Option<Duration>,
        message: String,
    },
    /// The key is not one that the server takes.
    #[error("{0}")]
    BadKey(String),
    /// The server could not do it, and charged nothing.
    #[error("{0}")]
    Unavailable(String),
    /// The server may have done it and charged for it, but no whole answer came.
    #[error("{0}")]
    Lost(String),
    /// The request is wrong and stays so.
    #[error("{0}")]
    Rejected(String),
}
