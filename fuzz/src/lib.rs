//! What the fuzz targets share.
//!
//! - [`service`]: the services in this process, asked without a connection
//! - [`image`]: images as hostile senders make them
//! - [`text`]: names and texts, right and wrong
//! - `memory`: no block of memory without bound

pub mod image;
mod memory;
pub mod service;
pub mod text;

use std::path::PathBuf;

/// Pixels of an image at most: what takes long finds little.
pub const MAX_PIXELS: u64 = 1 << 20;

/// Items of a stream at most: more take longer and find no more.
pub const MOST_ITEMS: usize = 4;

/// A model directory with random weights, small enough to answer at once.
#[must_use]
pub fn model(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../services/lib/models/tests/fixtures")
        .join(name)
}
