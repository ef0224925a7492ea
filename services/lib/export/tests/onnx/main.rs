//! Exported models in the unmodified onnx and onnxruntime from PyPI: valid files that give the model's numbers.
//!
//! `make test` puts both into the cache folder and names it in SAGA_ONNXRUNTIME; without it this is skipped. That a graph gives
//! the model's numbers is proved without them, too, by every export.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

use saga_export::ExportError;
use saga_export::onnx::{Precision, Report, export};
use saga_imaging::RgbImage;
use saga_models::checkpoint::Checkpoint;
use saga_models::int8::{COMPARED, OBSERVED};
use saga_models::tch::Tensor;
use saga_models::{Classifier, Runtime};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{expected, fixture};

/// Pictures that differ in colour, slope and grain.
fn pictures(count: usize) -> impl Iterator<Item = RgbImage> {
    (0..count as u32).map(|index| {
        let hash = |number: u32| number.wrapping_mul(2_654_435_761) >> 16;
        let level = |base: u32, x: u32, y: u32| {
            let slope = hash(index + base) % 7 * x + hash(index * 3 + base) % 5 * y;
            let grain = hash(index ^ (x * 31 + y * 17 + base)) % (1 + hash(index) % 60);
            (hash(index * 7 + base) % 160 + slope + grain).min(255) as u8
        };
        RgbImage::from_fn(24, 20, |x, y| {
            image::Rgb([level(1, x, y), level(2, x, y), level(3, x, y)])
        })
    })
}

/// Enough for every use of pictures.
const ENOUGH: usize = OBSERVED + COMPARED;

fn exported(name: &str, out: &Path, precision: Precision) -> Report {
    let mut pictures = pictures(ENOUGH);
    export(&fixture(name), out, precision, Some(&mut pictures)).unwrap()
}

/// What onnx and onnxruntime say of `(model, input, expected)`; None, and says so, where they are not there.
fn asked(folder: &Path, cases: &[(PathBuf, &str, Tensor, Tensor)]) -> Option<Vec<Value>> {
    let Some(library) = std::env::var_os("SAGA_ONNXRUNTIME") else {
        eprintln!(
            "skipped: SAGA_ONNXRUNTIME names no folder with onnx and onnxruntime; `make test` fetches them"
        );
        return None;
    };
    let described: Vec<Value> = cases
        .iter()
        .enumerate()
        .map(|(index, (model, input, given, expected))| {
            let file = folder.join(format!("case-{index}.safetensors"));
            let tensors = [
                (*input, given.contiguous()),
                ("expected", expected.contiguous()),
            ];
            Tensor::write_safetensors(&tensors, &file).unwrap();
            json!({"model": model, "tensors": file})
        })
        .collect();
    let list = folder.join("cases.json");
    std::fs::write(&list, json!(described).to_string()).unwrap();
    let output = Command::new("python3")
        .env("PYTHONPATH", library)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnx/check.py"))
        .arg(list)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn number(found: &Value, key: &str) -> f64 {
    found[key].as_f64().unwrap()
}

const CLASSIFIERS: [&str; 5] = [
    "vit",
    "vit-saga-head",
    "timm-vit",
    "resnet-basic",
    "resnet-bottleneck",
];

#[test]
fn classifiers_give_the_reference_libraries_logits() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for precision in [Precision::F32, Precision::F16] {
        for name in CLASSIFIERS {
            let out = folder.path().join(format!("{name}-{}", precision.name()));
            let report = exported(name, &out, precision);
            assert!(report.drift <= 1e-3, "{name}: {}", report.drift);
            assert_eq!(
                report.files[0].bytes,
                report.files[0].path.metadata().unwrap().len()
            );
            let expected = expected(name);
            let (pixels, logits) = (&expected["pixel_values"], &expected["logits"]);
            let model = report.files[0].path.clone();
            cases.push((
                model,
                "pixel_values",
                pixels.shallow_clone(),
                logits.shallow_clone(),
            ));
        }
    }
    let Some(found) = asked(folder.path(), &cases) else {
        return;
    };
    for ((model, ..), found) in cases.iter().zip(found) {
        let largest = if model.to_string_lossy().contains("f16") {
            0.05
        } else {
            1e-3
        };
        let what = format!(
            "{}: {} {}",
            model.display(),
            found["difference"],
            found["alone"]
        );
        println!("{what}");
        assert!(
            number(&found, "difference") <= largest && number(&found, "alone") <= largest,
            "{what}"
        );
        assert_eq!(found["inputs"], json!(["pixel_values"]), "{what}");
        assert_eq!(found["outputs"], json!(["logits"]), "{what}");
        assert_eq!(found["dtype"], "float32", "{what}");
        assert_eq!(found["opset"], json!([["", 17]]), "{what}");
    }
}

#[test]
fn a_file_says_what_it_is_and_keeps_the_checkpoints_names() {
    let folder = tempfile::tempdir().unwrap();
    let report = exported("vit-saga-head", folder.path(), Precision::F32);
    let expected = expected("vit-saga-head");
    let (pixels, logits) = (&expected["pixel_values"], &expected["logits"]);
    let case = (
        report.files[0].path.clone(),
        "pixel_values",
        pixels.shallow_clone(),
        logits.shallow_clone(),
    );
    let Some(found) = asked(folder.path(), &[case]) else {
        return;
    };
    let found = &found[0];
    assert_eq!(
        found["metadata"]["labels"],
        r#"["anger","fear","joy","surprise"]"#
    );
    assert_eq!(found["metadata"]["model_type"], "vit");
    assert_eq!(found["metadata"]["precision"], "f32");
    let preprocessing: Value =
        serde_json::from_str(found["metadata"]["preprocessor_config"].as_str().unwrap()).unwrap();
    assert_eq!(preprocessing["size"], json!({"height": 32, "width": 32}));
    let weights: Vec<&str> = found["weights"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let tensors =
        Tensor::read_safetensors(fixture("vit-saga-head").join("model.safetensors")).unwrap();
    for (name, _) in tensors
        .iter()
        .filter(|(name, _)| !name.ends_with("num_batches_tracked"))
    {
        assert!(weights.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn a_clip_is_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    let exports = [
        ("clip", Precision::F32),
        ("clip-legacy", Precision::F32),
        ("open-clip", Precision::F32),
        ("clip", Precision::F16),
        ("clip", Precision::Int8Dynamic),
        ("clip", Precision::Int8Qdq),
    ];
    for (name, precision) in exports {
        let out = folder.path().join(format!("{name}-{}", precision.name()));
        let report = exported(name, &out, precision);
        assert!(report.drift <= 1e-3, "{name}: {}", report.drift);
        let expected = expected(name);
        let take = |key: &str| expected[key].shallow_clone();
        cases.push((
            out.join("vision_model.onnx"),
            "pixel_values",
            take("pixel_values"),
            take("image_embeds"),
        ));
        cases.push((
            out.join("text_model.onnx"),
            "input_ids",
            take("input_ids"),
            take("text_embeds"),
        ));
    }
    let Some(found) = asked(folder.path(), &cases) else {
        return;
    };
    for ((model, ..), found) in cases.iter().zip(found) {
        let what = format!(
            "{}: {} {}",
            model.display(),
            found["difference"],
            found["alone"]
        );
        println!("{what}");
        // Of a number of a row of length one. The tower of texts stays in f32 beside one in integers.
        let is = |part: &str| model.to_string_lossy().contains(part);
        let largest = match (is("int8") && is("vision"), is("f16")) {
            (true, _) => 0.05,
            (_, true) => 0.01,
            _ => 1e-3,
        };
        assert!(
            number(&found, "difference") <= largest && number(&found, "alone") <= largest,
            "{what}"
        );
        assert_eq!(found["metadata"]["model_type"], "clip", "{what}");
        assert!(
            found["metadata"]["logit_scale"]
                .as_str()
                .unwrap()
                .parse::<f64>()
                .is_ok(),
            "{what}"
        );
    }
}

/// Pixel values of a thousand pictures, and what the model gives for them.
fn a_thousand(name: &str) -> (Tensor, Tensor) {
    let checkpoint = Checkpoint::read(&fixture(name)).unwrap();
    let preprocessor = checkpoint.preprocessor().unwrap();
    let items: Vec<_> = pictures(ENOUGH)
        .skip(OBSERVED)
        .take(COMPARED)
        .map(|picture| preprocessor.pixel_values(&picture))
        .collect();
    let pixels = preprocessor.batch(&items).unwrap();
    let model = Classifier::from_checkpoint(checkpoint, Runtime::REFERENCE).unwrap();
    let logits = model.forward(&pixels).unwrap();
    (pixels, logits)
}

#[test]
fn integers_answer_as_f32_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for name in ["vit", "vit-saga-head", "resnet-basic", "resnet-bottleneck"] {
        let (pixels, logits) = a_thousand(name);
        for precision in [Precision::Int8Dynamic, Precision::Int8Qdq] {
            let out = folder.path().join(format!("{name}-{}", precision.name()));
            let report = exported(name, &out, precision);
            let agreement = report.agreement.unwrap();
            println!("{name} {}: {agreement:?}", precision.name());
            assert!(
                agreement.of >= COMPARED && agreement.share() >= 0.99,
                "{agreement:?}"
            );
            let model = report.files[0].path.clone();
            cases.push((
                model,
                "pixel_values",
                pixels.shallow_clone(),
                logits.shallow_clone(),
            ));
        }
    }
    let Some(found) = asked(folder.path(), &cases) else {
        return;
    };
    for ((model, _, _, logits), found) in cases.iter().zip(found) {
        let what = format!(
            "{}: {} of {}, {}",
            model.display(),
            found["agreeing"],
            found["of"],
            found["difference"]
        );
        println!("{what}");
        // Answers that are all the same would agree whatever is computed. Those of the bottleneck are: its logits must follow the
        // pictures.
        let answers: std::collections::BTreeSet<i64> =
            Vec::<i64>::try_from(logits.argmax(-1, false))
                .unwrap()
                .into_iter()
                .collect();
        if model.to_string_lossy().contains("bottleneck") {
            let spread = logits.std_dim(0, true, false).max().double_value(&[]);
            let difference = number(&found, "difference");
            assert!(difference <= spread / 2.0, "{what}: {spread}");
        } else {
            assert!(answers.len() >= 2, "{what}: {answers:?}");
        }
        assert!(
            number(&found, "agreeing") >= 0.99 * number(&found, "of"),
            "{what}"
        );
        let operators = found["operators"].to_string();
        let in_integers = ["MatMulInteger", "ConvInteger", "DequantizeLinear"];
        assert!(
            in_integers
                .iter()
                .any(|operator| operators.contains(operator)),
            "{what}: {operators}"
        );
    }
}

#[test]
fn a_clip_in_integers_finds_its_own_pictures() {
    let folder = tempfile::tempdir().unwrap();
    for precision in [Precision::Int8Dynamic, Precision::Int8Qdq] {
        let report = exported("clip", folder.path(), precision);
        let agreement = report.agreement.unwrap();
        assert!(agreement.share() >= 0.99, "{agreement:?}");
        assert_eq!(report.files.len(), 2);
    }
}

#[test]
fn what_cannot_be_exported_says_why_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let error = export(&fixture("vit"), &out, Precision::Int8Qdq, None).unwrap_err();
    assert!(matches!(error, ExportError::NoCalibration), "{error}");
    for precision in [Precision::Int8Qdq, Precision::Int8Dynamic] {
        let mut few = pictures(OBSERVED + 5);
        let error = export(&fixture("vit"), &out, precision, Some(&mut few)).unwrap_err();
        assert!(
            matches!(error, ExportError::TooFewPictures { .. }),
            "{error}"
        );
    }
    let error = export(&fixture("pickle"), &out, Precision::F32, None).unwrap_err();
    assert!(matches!(error, ExportError::Model(_)), "{error}");
    assert!(!out.exists());
}
