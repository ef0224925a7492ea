//! What makes candidates. A backend is described once, gets a [`Spec`] in domain terms and answers with an image or
//! with why there is none; transport, limits and provenance are the service's.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use prost::bytes::Bytes;

use saga_proto::generator::v1 as proto;

use crate::error::GenerateError;
use crate::studio::Fault;
use crate::words::Wanted;

/// What a backend is and needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The name requests use.
    pub name: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// Of the backend or its model.
    pub version: String,
    /// Whether a request must carry a source image.
    pub needs_source: bool,
    /// Real images of the target class that a request should carry; 0: none.
    pub exemplars: u32,
    /// Whether the same request gives the same bytes.
    pub deterministic: bool,
    /// Expected price of one request in US dollars.
    pub cost_usd: f64,
    /// The same where several are sent as one and answered later; `None`: they cannot be.
    pub batch_cost_usd: Option<f64>,
}

/// Requests that all keys of a backend together may make; 0: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    pub per_minute: u64,
    pub per_day: u64,
}

/// What a backend's server says about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCheck {
    pub name: String,
    pub accepted: Result<(), String>,
}

/// One candidate to make. Images are encoded and not yet decoded by anybody.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// The caller's name of the candidate; may be empty.
    pub candidate_id: String,
    pub source: Option<Bytes>,
    /// BLAKE3 of the source; empty without one.
    pub source_blake3: String,
    pub source_label: String,
    pub target_label: String,
    pub prompt: String,
    pub seed: u64,
    pub exemplars: Vec<Bytes>,
    pub parameters: BTreeMap<String, String>,
    /// Whose money it may spend.
    pub budget: Option<proto::Budget>,
    /// For backends that make words.
    pub words: Wanted,
}

/// What a backend answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub outcome: Outcome,
    /// Every setting that was in force, by name.
    pub parameters: BTreeMap<String, String>,
    /// Price of this request in US dollars.
    pub cost_usd: f64,
    /// What the backend knows of its own faults, where it knows.
    pub fault: Option<Fault>,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An encoded image.
    Image(Bytes),
    /// No image: the kind, and the reason for people.
    Without(Without, String),
    /// Words, of a backend that makes these.
    Text(String),
}

/// The ways an answer can lack an image; named as in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    SafetyBlock,
    PromptBlock,
    NoImage,
    TextOnly,
    Truncated,
    Undecodable,
}

impl Without {
    /// The contract's word.
    pub fn kind(self) -> proto::Outcome {
        match self {
            Self::SafetyBlock => proto::Outcome::SafetyBlock,
            Self::PromptBlock => proto::Outcome::PromptBlock,
            Self::NoImage => proto::Outcome::NoImage,
            Self::TextOnly => proto::Outcome::TextOnly,
            Self::Truncated => proto::Outcome::Truncated,
            Self::Undecodable => proto::Outcome::Undecodable,
        }
    }

    /// What the contract's word stands for.
    pub fn of_kind(kind: proto::Outcome) -> Option<Self> {
        [
            Self::SafetyBlock,
            Self::PromptBlock,
            Self::NoImage,
            Self::TextOnly,
            Self::Truncated,
            Self::Undecodable,
        ]
        .into_iter()
        .find(|why| why.kind() == kind)
    }
}

/// Something that makes candidates: on the processor's pool, or by asking somebody else.
pub trait Backend: Send + Sync {
    /// What it is and needs.
    fn describe(&self) -> Description;

    /// How much it may be asked.
    fn allowance(&self) -> Allowance {
        Allowance::default()
    }

    /// Asks its server about each of its keys.
    fn check_keys(&self) -> BoxFuture<'_, Result<Vec<KeyCheck>, GenerateError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Makes one candidate. Dropping the future gives up the work that has not begun.
    fn generate(&self, spec: Spec) -> BoxFuture<'_, Result<Made, GenerateError>>;
}

/// The backends there are, by name.
#[derive(Clone)]
pub struct Registry {
    backends: Arc<[Arc<dyn Backend>]>,
}

impl Registry {
    /// Keeps the order, which is that of listings.
    pub fn new(backends: Vec<Arc<dyn Backend>>) -> Self {
        Self {
            backends: backends.into(),
        }
    }

    /// Every backend.
    pub fn all(&self) -> impl Iterator<Item = &dyn Backend> {
        self.backends.iter().map(AsRef::as_ref)
    }

    /// The backend of that name.
    ///
    /// # Errors
    /// [`GenerateError::Invalid`] naming those there are.
    pub fn find(&self, name: &str) -> Result<Arc<dyn Backend>, GenerateError> {
        let found = self
            .backends
            .iter()
            .find(|backend| backend.describe().name == name);
        found.cloned().ok_or_else(|| {
            let known: Vec<_> = self
                .backends
                .iter()
                .map(|backend| backend.describe().name)
                .collect();
            GenerateError::invalid(
                "spec.backend",
                format!("'{name}' is not a backend; there are {}", known.join(", ")),
            )
        })
    }
}
