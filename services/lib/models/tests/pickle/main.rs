//! PyTorch checkpoints: what torch.save wrote is read to the byte, and whatever else is refused, whole and in words.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod formats;
mod hostile;
mod properties;
mod writer;

use saga_models::Stored;
use saga_models::pickle::{self, Problem};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Written by `fixtures/pickle/make.py`.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/pickle")
        .join(name)
}

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

fn read(bytes: &[u8]) -> Result<BTreeMap<String, Stored>, Problem> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    pickle::read(file.path()).map_err(|error| {
        assert_eq!(error.path, file.path());
        *error.problem
    })
}

/// The message of a file's refusal.
fn refusal(name: &str) -> String {
    let error = pickle::read(&fixture(name)).unwrap_err().to_string();
    assert!(error.contains(name), "{error}");
    error
}
