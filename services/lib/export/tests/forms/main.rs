//! Hugging Face directories and state dicts: read back here, and in `make parity` by the unmodified transformers and torch, which
//! SAGA_REFERENCES names the Python of.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

use saga_export::{ExportError, huggingface, pth};
use saga_models::checkpoint::{Architecture, Checkpoint};
use saga_models::clip::Clip;
use saga_models::tch::{Kind, Tensor};
use saga_models::{Classifier, Model as _, Runtime, Stored, directory, pickle};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

use common::{expected, fixture};

const ALL: [&str; 6] = [
    "vit",
    "timm-vit",
    "resnet-basic",
    "resnet-bottleneck",
    "clip",
    "open-clip",
];

/// Logits, or of a CLIP the embeddings of its pictures.
fn outputs(dir: &Path, pixels: &Tensor) -> Tensor {
    let checkpoint = Checkpoint::read(dir).unwrap();
    match checkpoint.architecture() {
        Architecture::Clip(_) => {
            let model = Clip::from_checkpoint(checkpoint, Runtime::REFERENCE).unwrap();
            model.image_embeds(pixels).unwrap()
        }
        _ => {
            let model = Classifier::from_checkpoint(checkpoint, Runtime::REFERENCE).unwrap();
            model.forward(pixels).unwrap()
        }
    }
}

fn off(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

/// What a tensor of a state dict should be.
fn stored(tensor: &Tensor) -> Stored {
    let mut data = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut data, tensor.numel());
    let dtype = match tensor.kind() {
        Kind::Float => "F32",
        _ => "I64",
    };
    Stored {
        dtype: serde_json::from_value(json!(dtype)).unwrap(),
        shape: tensor.size().iter().map(|&side| side as usize).collect(),
        data,
    }
}

#[test]
fn both_forms_hold_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for name in ALL {
        let (dir, file) = (
            folder.path().join(name),
            folder.path().join(format!("{name}.pth")),
        );
        huggingface::export(&fixture(name), &dir, None).unwrap();
        let expected = expected(name);
        let pixels = &expected["pixel_values"];
        let is_clip = expected.contains_key("image_embeds");
        let wanted = &expected[if is_clip { "image_embeds" } else { "logits" }];
        let difference = off(&outputs(&dir, pixels), wanted);
        assert!(difference <= 1e-4, "{name}: {difference}");

        let written = pth::export(&dir, &file).unwrap();
        assert_eq!(written.bytes, file.metadata().unwrap().len());
        let read = pickle::read(&file).unwrap();
        let weights = Tensor::read_safetensors(dir.join(directory::WEIGHTS)).unwrap();
        assert_eq!(read.len(), weights.len(), "{name}");
        for (tensor, weight) in &weights {
            assert_eq!(read[tensor], stored(weight), "{name}: {tensor}");
        }

        let tensors = folder.path().join(format!("{name}.safetensors"));
        let mut inputs = vec![
            ("expected", wanted.contiguous()),
            ("pixel_values", pixels.contiguous()),
        ];
        if is_clip {
            inputs.push(("input_ids", expected["input_ids"].contiguous()));
        }
        Tensor::write_safetensors(&inputs, &tensors).unwrap();
        cases.push(json!({"directory": dir, "pth": file, "tensors": tensors}));
    }
    let Some(python) = std::env::var_os("SAGA_REFERENCES") else {
        eprintln!(
            "transformers was not asked: SAGA_REFERENCES names no Python that has it; `make parity` makes one"
        );
        return;
    };
    let list = folder.path().join("cases.json");
    std::fs::write(&list, json!(cases).to_string()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/forms/check.py");
    let output = Command::new(python).arg(script).arg(list).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    for (name, found) in ALL.iter().zip(found) {
        println!("{name}: {found}");
        assert_eq!(found["loaded"], json!([[], [], []]), "{name}");
        assert_eq!(found["state"], json!([[], []]), "{name}");
        for difference in ["difference", "state_difference"] {
            assert!(
                found[difference].as_f64().unwrap() <= 1e-4,
                "{name}: {found}"
            );
        }
    }
}

/// A trained model, and the run that trained it.
fn run(revision: &str) -> (tempfile::TempDir, tempfile::TempDir) {
    let (model, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for entry in std::fs::read_dir(fixture("vit")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, model.path().join(path.file_name().unwrap())).unwrap();
    }
    let training = json!({"dataset_hash": "abc123", "best_epoch": 4, "val_accuracy": 0.9, "val_balanced_accuracy": 0.8,
        "val_macro_f1": 0.7, "stopped": null});
    std::fs::write(model.path().join("training.json"), training.to_string()).unwrap();
    let scores = json!({"accuracy": 0.9, "balanced_accuracy": 0.85, "macro_f1": 0.84, "per_class_recall": {"anger": 0.9, "fear": null}});
    let results = json!({"run_id": "run-7", "recipe": "emotion", "seed": 5, "generator": "exemplar", "test_mode": true,
        "dataset": {"splits": {"anger": {"train": 60}, "fear": {"train": 15}}}, "golden": {"counts": {"anger": 50, "fear": 0}},
        "baseline": scores, "augmented": scores, "candidates": {"accepted": 25},
        "delta": {"balanced_accuracy": 0.05, "balanced_accuracy_interval": [0.01, 0.09]},
        "model_revisions": {"baseline": "0000", "augmented": revision}});
    std::fs::write(run.path().join("results.json"), results.to_string()).unwrap();
    (model, run)
}

#[test]
fn a_card_tells_data_metrics_with_intervals_synthetic_share_and_limits() {
    let (model, run) = run(&directory::revision(&fixture("vit")).unwrap());
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("emotions");
    huggingface::export(model.path(), &out, Some(run.path())).unwrap();
    let card = std::fs::read_to_string(out.join(directory::MODEL_CARD)).unwrap();
    let (front, body) = card
        .strip_prefix("---\n")
        .unwrap()
        .split_once("---\n")
        .unwrap();
    let entry = |key: &str| -> Value {
        let line = front
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{key}: ")))
            .unwrap();
        serde_json::from_str(line).unwrap()
    };
    assert_eq!(entry("pipeline_tag"), "image-classification");
    let index = entry("model-index");
    assert_eq!(index[0]["name"], "emotions");
    assert_eq!(index[0]["results"][0]["metrics"][0]["value"], 0.9);
    for words in [
        "anger, fear, joy, surprise",
        "content hash is `abc123`",
        "75 real images and 25 synthetic ones (25.0 %), made by exemplar",
        "| accuracy | 0.9000 | 0.7864 to 0.9565 | 50 |",
        "| recall of fear | not known |  | 0 |",
        "+0.0500 (95 % interval of a paired bootstrap over images +0.0100 to +0.0900)",
        "fear (0)",
        "a trial (test mode)",
    ] {
        assert!(body.contains(words), "{words}\n{body}");
    }
}

#[test]
fn what_cannot_be_told_or_written_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let error = huggingface::export(&fixture("vit-saga-head"), &out, None).unwrap_err();
    assert!(matches!(error, ExportError::SagaHead), "{error}");
    let (model, other) = run("ffff");
    let error = huggingface::export(model.path(), &out, Some(other.path())).unwrap_err();
    assert!(
        matches!(&error, ExportError::OtherRun { run, .. } if run == "run-7"),
        "{error}"
    );
    std::fs::write(other.path().join("results.json"), "{}").unwrap();
    let error = huggingface::export(model.path(), &out, Some(other.path())).unwrap_err();
    assert!(matches!(error, ExportError::Record { .. }), "{error}");
    assert!(!out.exists());
    let error = huggingface::export(model.path(), folder.path(), None).unwrap_err();
    assert!(matches!(error, ExportError::Occupied { .. }), "{error}");
    let error = pth::export(&fixture("pickle"), &out).unwrap_err();
    assert!(matches!(error, ExportError::Model(_)), "{error}");
    assert!(!out.exists());
}
