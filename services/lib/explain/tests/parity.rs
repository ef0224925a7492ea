//! Against pytorch-grad-cam, shap, lime, scikit-image and transformers' own attention, on tiny models of random weights.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use image::RgbImage;
use saga_explain::{
    ExplainError, Masked, Method, Picture, Question, Subject as _, Twin, class_of, explain,
    kernel_shap::Coalitions, lime, quickshift, rollout::rollout,
};
use saga_models::Checkpoint;
use tch::{Device, Kind, Tensor};

/// Written by `fixtures/make.py`.
fn expected() -> HashMap<String, Tensor> {
    tensors(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/expected.safetensors"))
}

/// Classes whose class activation maps the fixture holds.
const CLASSES: [usize; 2] = [0, 2];

fn tensors(file: &Path) -> HashMap<String, Tensor> {
    Tensor::read_safetensors(file)
        .unwrap()
        .into_iter()
        .collect()
}

fn model_folder(name: &str) -> PathBuf {
    let folder = "../models/tests/fixtures";
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(name)
}

fn model(name: &str) -> Twin {
    let checkpoint = Checkpoint::read(&model_folder(name)).unwrap();
    Twin::new(checkpoint, Device::Cpu).unwrap()
}

/// The three pictures of a model's own fixture, whose colours do not matter here.
fn pictures(name: &str) -> Vec<Picture> {
    let values = &tensors(&model_folder(name).join("expected.safetensors"))["pixel_values"];
    let (_, _, height, width) = values.size4().unwrap();
    let picture =
        |values| Picture::new(values, RgbImage::new(width as u32, height as u32)).unwrap();
    values.split(1, 0).into_iter().map(picture).collect()
}

fn never() -> bool {
    false
}

fn question(picture: &Picture, class: usize) -> Question<'_> {
    Question {
        picture,
        class,
        samples: None,
        seed: 0,
        stop: &never,
    }
}

fn distance(found: &[f32], expected: &Tensor) -> f64 {
    let expected = expected.to_kind(Kind::Float).flatten(0, -1);
    let found = Tensor::from_slice(found);
    assert_eq!(found.size(), expected.size());
    (found - expected).abs().max().double_value(&[])
}

fn worst(found: &[f64], expected: &Tensor) -> f64 {
    (Tensor::from_slice(found) - expected)
        .abs()
        .max()
        .double_value(&[])
}

#[test]
fn class_activation_maps_equal_pytorch_grad_cam() {
    let expected = expected();
    for name in ["vit", "resnet-basic", "resnet-bottleneck"] {
        let model = model(name);
        let methods = [
            (Method::GradCam, "grad_cam"),
            (Method::GradCamPlusPlus, "grad_cam_plus_plus"),
        ];
        for (method, key) in methods {
            let wanted = &expected[&format!("{name}.{key}")];
            for (index, picture) in (0..).zip(pictures(name)) {
                for (place, class) in (0..).zip(CLASSES) {
                    let map = explain(&model, method, &question(&picture, class)).unwrap();
                    let distance = distance(&map.values, &wanted.get(index).get(place));
                    assert!(distance <= 1e-4, "{name} {key} {index} {class}: {distance}");
                }
            }
        }
    }
}

#[test]
fn attention_and_its_rollout_equal_transformers() {
    let expected = expected();
    let model = model("vit");
    for (index, picture) in (0..).zip(pictures("vit")) {
        let maps = model.attention_maps(picture.pixel_values()).unwrap();
        let stacked = Tensor::cat(&maps, 0);
        let wanted = expected["vit.attentions"].get(index);
        assert!((stacked - wanted).abs().max().double_value(&[]) <= 1e-5);
        let shares: Vec<f64> = Vec::try_from(rollout(&maps).unwrap()).unwrap();
        assert!(worst(&shares, &expected["vit.rollout"].get(index).flatten(0, -1)) <= 1e-5);
        let rolled = explain(&model, Method::AttentionRollout, &question(&picture, 0)).unwrap();
        assert_eq!((rolled.height, rolled.width), (32, 32));
    }
}

#[test]
fn rollout_needs_attention() {
    let picture = pictures("resnet-basic").remove(0);
    let refused = explain(
        &model("resnet-basic"),
        Method::AttentionRollout,
        &question(&picture, 0),
    );
    assert!(matches!(refused, Err(ExplainError::NoAttention)));
}

#[test]
fn regions_equal_scikit_image() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rendered.png");
    let picture = image::open(file).unwrap().to_rgb8();
    let wanted: Vec<i64> = Vec::try_from(expected()["quickshift"].flatten(0, -1)).unwrap();
    let found = quickshift(&picture, 4.0, 200.0, 0.2);
    assert!(
        found.iter().max() > Some(&4),
        "one region would prove nothing"
    );
    assert!(found.iter().map(|&region| region as i64).eq(wanted));
}

#[test]
fn the_class_is_the_one_asked_for_or_the_most_probable() {
    let expected = expected();
    let (model, picture) = (model("vit"), small(&expected));
    // The first of lime's pictures shows everything.
    let row: Vec<f32> = Vec::try_from(expected["lime.probabilities"].get(0)).unwrap();
    let (best, most) = class_of(&model, &picture, None).unwrap();
    assert!(row.iter().all(|&probability| probability <= row[best]));
    assert!((row[best] - most).abs() < 1e-5);
    for (class, wanted) in row.iter().enumerate() {
        let (found, probability) = class_of(&model, &picture, Some(class)).unwrap();
        assert!(found == class && (probability - wanted).abs() < 1e-5);
    }
    let refused = class_of(&model, &picture, Some(4));
    assert!(matches!(
        refused,
        Err(ExplainError::Class { class: 4, last: 3 })
    ));
}

/// Rows of zeros and ones.
fn masks(rows: &Tensor) -> Vec<Vec<bool>> {
    let rows: Vec<Vec<f32>> = Vec::try_from(rows).unwrap();
    let shown = |row: Vec<f32>| row.into_iter().map(|value| value > 0.5).collect();
    rows.into_iter().map(shown).collect()
}

/// The picture that make.py hid tiles of.
fn small(expected: &HashMap<String, Tensor>) -> Picture {
    Picture::new(
        expected["small.pixel_values"].shallow_clone(),
        RgbImage::new(32, 32),
    )
    .unwrap()
}

#[test]
fn hidden_regions_and_lime_equal_lime() {
    let expected = expected();
    let (model, picture) = (model("vit"), small(&expected));
    let tiles: Vec<i64> = Vec::try_from(expected["tiles"].flatten(0, -1)).unwrap();
    let tiles: Vec<usize> = tiles.into_iter().map(|tile| tile as usize).collect();
    let masks = masks(&expected["lime.masks"]);
    let masked = Masked::new(&model, &picture, &tiles, &never).unwrap();
    let found = masked.probabilities(&masks).unwrap();
    let recorded = &expected["lime.probabilities"];
    assert!((&found - recorded).abs().max().double_value(&[]) <= 1e-5);
    for class in 0..4 {
        let wanted = &expected["lime.coefficients"].get(class);
        let from_recorded = lime::coefficients(&masks, &recorded.select(1, class)).unwrap();
        assert!(worst(&from_recorded, wanted) <= 1e-6);
        let from_model = lime::coefficients(&masks, &found.select(1, class)).unwrap();
        assert!(worst(&from_model, wanted) <= 1e-5);
    }
}

#[test]
fn shapley_values_equal_shap() {
    let expected = expected();
    for regions in [8, 16] {
        let key = |name: &str| &expected[&format!("shap{regions}.{name}")];
        let coalitions = Coalitions {
            masks: masks(key("masks")),
            weights: Vec::try_from(key("kernel_weights")).unwrap(),
        };
        for class in 0..4 {
            let end = |end: i64| key("ends").double_value(&[end, class]);
            let of_class = key("probabilities").select(1, class);
            let found = coalitions.values(&of_class, end(0), end(1)).unwrap();
            assert!(
                worst(&found, &key("values").get(class)) <= 1e-6,
                "{regions}"
            );
        }
    }
}

/// Where all coalitions fit, SAGA's own are shap's, and so are their weights.
#[test]
fn coalitions_equal_shap() {
    let expected = expected();
    let own = Coalitions::draw(8, 2_064, 1);
    let recorded: HashMap<Vec<bool>, f64> = masks(&expected["shap8.masks"])
        .into_iter()
        .zip(Vec::<f64>::try_from(&expected["shap8.kernel_weights"]).unwrap())
        .collect();
    assert_eq!(own.masks.len(), recorded.len());
    for (mask, weight) in own.masks.iter().zip(&own.weights) {
        assert!((recorded[mask] - weight).abs() <= 1e-12, "{mask:?}");
    }
}
