//! Checkpoints of every layout against the library that wrote them: `fixtures/layouts.py` made them. With SAGA_PARITY_DIR
//! the same on the full-size ones of `make parity`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{distance, expected_in, fixture};
use saga_imaging::DecodeLimits;
use saga_models::checkpoint::{Checkpoint, ImportOptions, import};
use saga_models::clip::Clip;
use saga_models::tch::Tensor;
use saga_models::tokenizer::Tokens;
use saga_models::{Classifier, Model as _, ModelError, Runtime, directory};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The bounds on logits and embeddings.
const LARGEST: f64 = 1e-3;
const LEAST_COSINE: f64 = 0.99999;

const TINY: [&str; 7] = [
    "timm-vit",
    "timm-resnet-basic",
    "timm-resnet-bottleneck",
    "resnet-basic",
    "resnet-bottleneck",
    "open-clip",
    "open-clip-quick-gelu",
];

fn directories() -> Vec<PathBuf> {
    let Some(full) = std::env::var_os("SAGA_PARITY_DIR") else {
        return TINY.map(fixture).to_vec();
    };
    let entries = fs::read_dir(full).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn compare(what: &str, found: &Tensor, expected: &Tensor) {
    let largest = distance(found, expected);
    let cosine = Tensor::cosine_similarity(found, expected, -1, 1e-8).min();
    let cosine = cosine.double_value(&[]);
    println!("{what}: largest difference {largest:.2e}, least cosine {cosine:.7}");
    assert!(largest <= LARGEST && cosine >= LEAST_COSINE, "{what}");
}

/// A directory that can be loaded: what lies there, or what `saga model import` makes of a lone file.
fn checkpoint(dir: &Path) -> Checkpoint {
    let lone = dir.join("weights.pth");
    if !lone.is_file() {
        return Checkpoint::read(dir).unwrap();
    }
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("model");
    import(&lone, &out, &ImportOptions::default()).unwrap();
    Checkpoint::read(&out).unwrap()
}

fn pixels(dir: &Path, checkpoint: &Checkpoint) -> Tensor {
    let preprocessor = checkpoint.preprocessor().unwrap();
    let picture = |name: &str| {
        let files = ["png", "jpg"].map(|kind| dir.join(format!("{name}.{kind}")));
        let bytes = fs::read(files.iter().find(|file| file.is_file()).unwrap()).unwrap();
        preprocessor.pixel_values(&saga_imaging::decode(&bytes, &DecodeLimits::default()).unwrap())
    };
    let rows = ["wide", "tall", "square"].map(picture);
    preprocessor.batch(&rows).unwrap()
}

/// Written by `fixtures/features.py`.
#[test]
fn features_are_what_enters_the_libraries_heads() {
    let names = TINY.into_iter().chain(["vit", "vit-saga-head"]);
    for name in names.filter(|name| !name.starts_with("open-clip")) {
        let dir = fixture(name);
        let file = Tensor::read_safetensors(dir.join("features.safetensors")).unwrap();
        let [(_, features)] = file.as_slice() else {
            panic!("{name}: one tensor")
        };
        let pixels = &expected_in(&dir)["pixel_values"];
        let model = Classifier::from_checkpoint(checkpoint(&dir), Runtime::REFERENCE).unwrap();
        let (logits, found) = model.forward_with_features(pixels).unwrap();
        compare(&format!("features of {name}"), &found, features);
        assert_eq!(logits, model.forward(pixels).unwrap(), "{name}");
    }
}

#[test]
fn every_layout_gives_the_numbers_of_the_library_that_wrote_it() {
    for dir in directories() {
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let expected = expected_in(&dir);
        let checkpoint = checkpoint(&dir);
        let own = pixels(&dir, &checkpoint);
        let levels = distance(&own, &expected["pixel_values"]);
        assert!(
            levels <= 1e-6,
            "{name}: pixel values differ by {levels:.1e}"
        );
        if expected.contains_key("logits") {
            let model = Classifier::from_checkpoint(checkpoint, Runtime::REFERENCE).unwrap();
            let logits = model.forward(&expected["pixel_values"]).unwrap();
            compare(&name, &logits, &expected["logits"]);
            let logits = model.forward(&own).unwrap();
            compare(&format!("{name} from files"), &logits, &expected["logits"]);
            continue;
        }
        let model = Clip::from_checkpoint(checkpoint, Runtime::REFERENCE).unwrap();
        let embeds = model.image_embeds(&expected["pixel_values"]).unwrap();
        compare(&name, &embeds, &expected["image_embeds"]);
        let embeds = model.image_embeds(&own).unwrap();
        compare(
            &format!("{name} from files"),
            &embeds,
            &expected["image_embeds"],
        );
        if let Some(ids) = expected.get("input_ids") {
            let embeds = model.text_embeds(&tokens(ids)).unwrap();
            compare(
                &format!("{name}'s texts"),
                &embeds,
                &expected["text_embeds"],
            );
        }
    }
}

fn tokens(ids: &Tensor) -> Vec<Tokens> {
    let rows = Vec::<Vec<i64>>::try_from(ids).unwrap();
    let tokens = |row: Vec<i64>| Tokens {
        ids: row.into_iter().map(|id| id as u32).collect(),
        truncated: false,
    };
    rows.into_iter().map(tokens).collect()
}

/// The SAGA head with one class's answers shifted, after golden answers were recorded.
#[test]
fn golden_answers_are_recorded_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("imported");
    let file = fixture("vit-saga-head").join("model.safetensors");
    let options = ImportOptions {
        labels: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
        ..ImportOptions::default()
    };
    let (_, assumptions) = import(&file, &out, &options).unwrap();
    assert!(assumptions.is_empty(), "{assumptions:?}");
    let load = || Classifier::from_checkpoint(Checkpoint::read(&out).unwrap(), Runtime::REFERENCE);
    assert_eq!(load().unwrap().labels(), ["a", "b", "c", "d"]);
    let weights = out.join(directory::WEIGHTS);
    let mut tensors: HashMap<String, Tensor> = Tensor::read_safetensors(&weights)
        .unwrap()
        .into_iter()
        .collect();
    let _ = tensors
        .get_mut("classifier.4.bias")
        .unwrap()
        .get(1)
        .g_add_scalar_(0.5);
    let tensors: Vec<(String, Tensor)> = tensors.into_iter().collect();
    Tensor::write_safetensors(&tensors, &weights).unwrap();
    let error = load().err().unwrap();
    assert!(matches!(error, ModelError::Golden(_)), "{error}");
}

#[test]
fn preprocessing_alone_is_what_serving_is_told() {
    for name in TINY {
        let dir = fixture(name);
        let served = Checkpoint::read(&dir).unwrap().preprocessor().unwrap();
        let stated = Checkpoint::preprocessing(&dir).unwrap();
        assert_eq!(stated.as_ref(), Some(served.config()), "{name}");
    }
    let silent = tempfile::tempdir().unwrap();
    let config = directory::CONFIG;
    fs::copy(fixture("vit").join(config), silent.path().join(config)).unwrap();
    assert_eq!(Checkpoint::preprocessing(silent.path()).unwrap(), None);
}
