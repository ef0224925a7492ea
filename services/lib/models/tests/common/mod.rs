//! What the parity tests share: where the fixtures are and how far figures may lie apart.
#![allow(dead_code, reason = "each test takes what it needs")]

use saga_models::tch::Tensor;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Written by `fixtures/make.py`.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

pub fn expected(name: &str) -> HashMap<String, Tensor> {
    expected_in(&fixture(name))
}

pub fn expected_in(dir: &Path) -> HashMap<String, Tensor> {
    Tensor::read_safetensors(dir.join("expected.safetensors"))
        .unwrap()
        .into_iter()
        .collect()
}

pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// Pixel values of the fixture's pictures, in the order of the expected batch.
pub fn pictures(name: &str) -> Vec<Vec<f32>> {
    let preprocessor = saga_models::Checkpoint::read(&fixture(name))
        .unwrap()
        .preprocessor()
        .unwrap();
    let read = |picture| image::open(fixture(name).join(picture)).unwrap().to_rgb8();
    ["wide.png", "tall.png", "square.png"]
        .map(|picture| preprocessor.pixel_values(&read(picture)))
        .to_vec()
}
