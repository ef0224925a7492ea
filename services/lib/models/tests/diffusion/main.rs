//! Latent diffusion against diffusers: modules, schedulers, pictures; and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod class_conditional;
#[path = "../common/mod.rs"]
mod common;
mod modules;
mod pictures;
mod refusals;
mod schedulers;

use saga_models::tch::Tensor;
use std::collections::HashMap;
use std::path::PathBuf;

/// Of f32 figures.
const TOLERANCE: f64 = 1e-4;
/// Longer than these are cut off by the tokenizer.
const PROMPTS: [&str; 2] = [
    "a photo of a fear face",
    "a close-up portrait of a surprised person, studio light",
];

/// Written by `fixtures/diffusion.py`.
fn pipeline(name: &str) -> PathBuf {
    common::fixture("diffusion").join(name)
}

/// The tensors of one group, by their names in it.
fn group(fixture: &str, group: &str) -> HashMap<String, Tensor> {
    let tensors = common::expected_in(&pipeline(fixture)).into_iter();
    let named = |(name, tensor): (String, Tensor)| {
        let name = name.strip_prefix(group)?.strip_prefix('.')?;
        Some((name.to_owned(), tensor))
    };
    tensors.filter_map(named).collect()
}

fn assert_near(found: &Tensor, expected: &Tensor, what: &str) {
    let distance = common::distance(found, expected);
    assert!(distance <= TOLERANCE, "{what}: {distance}");
}
