//! What the tests of exports share: the checkpoints that they export, and what those answer.

use saga_models::tch::Tensor;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Tiny checkpoints that the models crate is tested with.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../models/tests/fixtures")
        .join(name)
}

pub fn expected(name: &str) -> HashMap<String, Tensor> {
    let file = fixture(name).join("expected.safetensors");
    Tensor::read_safetensors(file)
        .unwrap()
        .into_iter()
        .collect()
}
