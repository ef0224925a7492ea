//! The generation snapshot: what has to be known to make an image again, as an assertion of its manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Label of the assertion that holds a [`Snapshot`].
pub const SNAPSHOT_LABEL: &str = "saga.generation";

/// How one image was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub run_id: String,
    pub candidate_id: String,
    /// The class the image was made for.
    pub label: String,
    pub backend: String,
    /// Version of the backend or of its model.
    pub backend_version: String,
    pub prompt: String,
    pub seed: u64,
    /// Every setting that was in force, by name.
    pub parameters: BTreeMap<String, String>,
    /// BLAKE3 of the real image that was edited, in hexadecimal; empty: made from text alone.
    pub source_blake3: String,
    /// BLAKE3 of the file before it was signed, as the gates judged it.
    pub image_blake3: String,
    /// US dollars.
    pub cost_usd: f64,
    /// When the image was admitted, RFC 3339.
    pub time: String,
}
