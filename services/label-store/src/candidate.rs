//! What is kept of a candidate besides its image: verdicts and provenance, as JSON in the database and in exports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One gate's answer; see `saga.gate.v1.Verdict`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub gate: String,
    pub accepted: bool,
    /// `None` where the gate's figure was not finite.
    pub score: Option<f64>,
    pub threshold_min: Option<f64>,
    pub threshold_max: Option<f64>,
    pub reason: String,
    pub model: Option<Model>,
    pub timing: Option<Timing>,
    pub details: BTreeMap<String, f64>,
}

/// Which weights answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub name: String,
    pub id: String,
    pub revision: String,
}

/// Where a gate's time went, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    pub queue_us: i64,
    pub decode_us: i64,
    pub compute_us: i64,
    pub batch_size: u32,
}

/// How a candidate was made; see `saga.generator.v1.Provenance`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    pub backend: String,
    pub backend_version: String,
    pub prompt: String,
    pub seed: u64,
    pub source_blake3: String,
    pub parameters: BTreeMap<String, String>,
    pub cost_usd: f64,
    pub duration_us: i64,
}

/// How an attempt was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    Admitted,
    Refunded,
    Exhausted,
    Duplicate,
    CapReached,
}

impl Settlement {
    /// The word in the database and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refunded => "refunded",
            Self::Exhausted => "exhausted",
            Self::Duplicate => "duplicate",
            Self::CapReached => "cap_reached",
        }
    }

    /// The settlement of a word from the database.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Admitted,
            Self::Refunded,
            Self::Exhausted,
            Self::Duplicate,
            Self::CapReached,
        ]
        .into_iter()
        .find(|s| s.as_str() == word)
    }
}
