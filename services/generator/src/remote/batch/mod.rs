//! Batches: requests that are sent together, cost less, and are answered within hours.
//!
//! Requests that come shortly after one another, for the same model, are sent as one. Each has its own permit in the ledger,
//! which also keeps the batch's label and then the server's name of it; its caller is told to come back. Whoever comes back,
//! after whatever crash, has the batch looked for and looked at, and all its answers are recorded as soon as there are any.

mod forming;
mod label;
mod looks;
mod tries;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use saga_chassis::InvalidValue;
use serde::{Deserialize, Serialize};

use super::answers::Failure;
use super::http::Http;
use super::keys::Secret;
use super::prepared::{AnswerPrice, Prepared};
use crate::backend::{Outcome, Spec};

pub use forming::Forming;
pub use label::Label;
pub use looks::Looks;

/// How batches are made; the `[gemini.batch]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchConfig {
    /// Price of an answer, as a share of its price outside of batches.
    pub price: f64,
    /// Requests of one batch.
    pub max_requests: usize,
    /// Bytes of their source images.
    pub max_source_bytes: usize,
    /// Time that the first request waits for others.
    pub linger_milliseconds: u64,
    /// Time between two looks at a batch.
    pub poll_seconds: u64,
}

impl BatchConfig {
    /// Whether every value is within its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::unless_within("gemini.batch.price", self.price, 0.0..=1.0)?;
        InvalidValue::unless_within("gemini.batch.max_requests", self.max_requests, 1..=10_000)?;
        let bytes = self.max_source_bytes;
        InvalidValue::unless_within("gemini.batch.max_source_bytes", bytes, 1..=1 << 30)?;
        let linger = self.linger_milliseconds;
        InvalidValue::unless_within("gemini.batch.linger_milliseconds", linger, 0..=600_000)?;
        InvalidValue::unless_within("gemini.batch.poll_seconds", self.poll_seconds, 1..=86_400)
    }

    fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_milliseconds)
    }

    fn poll(&self) -> Duration {
        Duration::from_secs(self.poll_seconds)
    }
}

/// A server that takes batches.
pub trait Batches: Send + Sync {
    /// How they are made.
    fn config(&self) -> &BatchConfig;

    /// Sends requests for one model together; the server's name of the batch.
    fn submit<'a>(
        &'a self,
        http: &'a Http,
        label: &'a Label,
        entries: &'a [Entry],
        key: &'a Secret,
    ) -> BoxFuture<'a, Result<String, Failure>>;

    /// The server's name of the batch with this label, where it has taken one.
    fn find<'a>(
        &'a self,
        http: &'a Http,
        label: &'a Label,
        key: &'a Secret,
    ) -> BoxFuture<'a, Result<Option<String>, Failure>>;

    /// Looks at a batch.
    fn look<'a>(
        &'a self,
        http: &'a Http,
        name: &'a str,
        key: &'a Secret,
    ) -> BoxFuture<'a, Result<Seen, Failure>>;
}

/// One request of a batch.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The permit in the ledger, which names the request at the server.
    pub permit: String,
    pub spec: Arc<Spec>,
    pub prepared: Prepared,
}

/// What a look at a batch shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The server works on it.
    Running,
    /// It ended without answers, at no cost.
    Failed(String),
    Answered(Vec<EntryAnswer>),
}

/// How one request of a batch ended.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryAnswer {
    pub permit: String,
    pub price: AnswerPrice,
    /// An answer, or why this request failed, at no cost.
    pub outcome: Result<Outcome, String>,
}
