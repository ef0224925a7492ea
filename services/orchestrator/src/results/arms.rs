//! What each arm came to: source class, target class, text and backend.

use saga_proto::labelstore::v1::Arm;
use serde::{Deserialize, Serialize};

/// Candidates of one source class for one target class, asked for with one text at one backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmResult {
    /// Class of the source images.
    pub source: String,
    /// Class that was asked for.
    pub target: String,
    /// The prompt's text before style and axes.
    pub text: String,
    /// The generator's backend.
    pub backend: String,
    /// Attempts that ended, whatever way.
    pub attempts: u64,
    /// Those that were admitted.
    pub accepted: u64,
    /// Accepted of all attempts, 0 to 1.
    pub accept_rate: f64,
    /// Spent on all attempts, in US dollars.
    pub cost_usd: f64,
    /// US dollars for each accepted; `None` where none was.
    pub usd_per_accepted: Option<f64>,
}

impl ArmResult {
    /// From the label store's count.
    pub fn new(arm: Arm) -> Self {
        Self {
            accept_rate: arm.accepted as f64 / arm.attempts.max(1) as f64,
            usd_per_accepted: (arm.accepted > 0).then(|| arm.cost_usd / arm.accepted as f64),
            source: arm.source_label,
            target: arm.target_label,
            text: arm.prompt_text,
            backend: arm.backend,
            attempts: arm.attempts,
            accepted: arm.accepted,
            cost_usd: arm.cost_usd,
        }
    }
}
