//! `saga explain` with a tiny model of random weights: overlays, maps, the mean, and the ranking.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;

#[test]
fn a_folder_is_explained_image_by_image_and_on_average() {
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../services/lib/models/tests/fixtures/vit");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("why");
    let output = Command::new(env!("CARGO_BIN_EXE_saga"))
        .args(["explain", model.to_str().unwrap()])
        // The pictures of the fixture lie beside its weights.
        .args(["--images", model.to_str().unwrap()])
        .args(["--class", "joy", "--method", "grad-cam,lime"])
        .args(["--samples", "64", "--out", out.to_str().unwrap()])
        .args(["--device", "cpu", "--precision", "f32", "--json"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let written = fs::read(out.join("explanations.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), told);
    let explanations = told["explanations"].as_array().unwrap();
    assert_eq!(explanations.len(), 4, "three images and their mean");
    assert_eq!(explanations[3]["images"], 3);
    for explanation in explanations {
        assert_eq!(explanation["label"], "joy");
        for map in explanation["maps"].as_array().unwrap() {
            let file = |key: &str| fs::read(out.join(map[key].as_str().unwrap())).unwrap();
            assert!(file("overlay").starts_with(b"\x89PNG"));
            // A header of 128 bytes, and 32 x 32 numbers.
            assert_eq!(file("map").len(), 128 + 32 * 32 * 4);
        }
    }
    assert!(out.join("mean.grad-cam.png").exists());
    let margin = |place: usize| {
        let area = |key: &str| told["ranking"][place][key].as_f64().unwrap();
        area("insertion_area") - area("deletion_area")
    };
    assert!(margin(0) >= margin(1));
}
