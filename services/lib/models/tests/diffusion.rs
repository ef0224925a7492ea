//! Latent diffusion against diffusers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{distance, expected_in, fixture};
use saga_models::Runtime;
use saga_models::diffusion::unet::UNet2DConditionModel;
use std::path::PathBuf;

/// Written by `fixtures/diffusion.py`.
fn pipeline(name: &str) -> PathBuf {
    fixture("diffusion").join(name)
}

#[test]
fn unets_predict_as_diffusers() {
    for name in ["sd", "sd-v"] {
        let expected = expected_in(&pipeline(name));
        let unet = UNet2DConditionModel::load(&pipeline(name).join("unet"), Runtime::REFERENCE);
        let found = unet
            .unwrap()
            .forward(&expected["unet.latents"], 321.0, &expected["unet.context"])
            .unwrap();
        let distance = distance(&found, &expected["unet.output"]);
        assert!(distance <= 1e-4, "{name}: {distance}");
    }
}
