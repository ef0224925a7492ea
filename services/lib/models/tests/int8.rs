//! 8-bit integers: served where pictures showed that answers stay the same, and refused everywhere else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{distance, expected, fixture};
use saga_imaging::RgbImage;
use saga_models::clip::Clip;
use saga_models::int8::{Agreement, COMPARED, OBSERVED, quantize};
use saga_models::tch::{Kind, Tensor};
use saga_models::vit::VitClassifier;
use saga_models::{Model, ModelError, Precision, Runtime, directory};
use std::fs;
use std::path::Path;

const INT8: Runtime = Runtime {
    precision: Precision::Int8,
    ..Runtime::REFERENCE
};

/// A copy of a fixture that can be written to.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

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

/// None, and says so, where libtorch lacks the kernels.
fn quantized(dir: &Path, prompts: &[&str]) -> Option<Result<Agreement, ModelError>> {
    if Runtime::select("cpu", "int8").is_err() {
        eprintln!("skipped: this libtorch has no kernels of 8-bit integers");
        return None;
    }
    let prompts: Vec<String> = prompts.iter().map(|&prompt| prompt.to_owned()).collect();
    Some(quantize(dir, &prompts, pictures(OBSERVED + COMPARED)))
}

#[test]
fn a_vit_that_agrees_is_served() {
    let dir = copy("vit");
    let Some(agreement) = quantized(dir.path(), &[]) else {
        return;
    };
    let agreement = agreement.unwrap();
    assert_eq!(agreement.of, COMPARED);
    assert!(agreement.share() >= 0.99, "{agreement:?}");
    let model = VitClassifier::load(dir.path(), INT8).unwrap();
    assert_eq!(model.precision(), Precision::Int8);
    let expected = expected("vit");
    let probabilities = |logits: &Tensor| logits.softmax(-1, Kind::Float);
    let logits = model.forward(&expected["pixel_values"]).unwrap();
    let off = distance(&probabilities(&logits), &probabilities(&expected["logits"]));
    assert!(off > 0.0 && off < 0.05, "{off}");
    for row in 0..3 {
        let alone = model
            .forward(&expected["pixel_values"].narrow(0, row, 1))
            .unwrap();
        // What is not in integers may round otherwise in another batch.
        assert!(distance(&alone, &logits.narrow(0, row, 1)) < 0.02);
    }
}

#[test]
fn a_clip_chooses_among_prompts() {
    let dir = copy("clip");
    let prompts = ["a photo of a cat", "something else entirely, and longer"];
    let Some(agreement) = quantized(dir.path(), &prompts) else {
        return;
    };
    assert!(agreement.unwrap().share() >= 0.99);
    let model = Clip::load(dir.path(), INT8).unwrap();
    let expected = expected("clip");
    let embeds = model.image_embeds(&expected["pixel_values"]).unwrap();
    let off = distance(&embeds, &expected["image_embeds"]);
    assert!(off > 0.0 && off < 0.02, "{off}");
    let message = |prompts: &[&str]| {
        quantized(dir.path(), prompts)
            .unwrap()
            .unwrap_err()
            .to_string()
    };
    assert!(message(&["one"]).contains("give two or more"));
    assert!(message(&[]).contains("give two or more"));
}

#[test]
fn what_cannot_be_quantised_says_why_and_leaves_nothing() {
    for (name, prompts, pictures, why) in [
        ("vit", &["a prompt"][..], 2000, "prompts are for a CLIP"),
        ("vit", &[], OBSERVED + COMPARED - 1, "too few pictures"),
        ("vit", &[], 0, "too few pictures"),
        ("resnet-basic", &[], 2000, "this is a ResNet"),
    ] {
        let dir = copy(name);
        let prompts: Vec<String> = prompts.iter().map(|&prompt| prompt.to_owned()).collect();
        let error = quantize(dir.path(), &prompts, self::pictures(pictures)).unwrap_err();
        if !error.to_string().contains(why) {
            assert!(Runtime::select("cpu", "int8").is_err(), "{error}");
        }
        assert!(!dir.path().join(directory::INT8).exists());
    }
}

/// Every linear map ten times as large, and attention with that a hundred times as sharp: what is close becomes one or the other.
#[test]
fn a_model_that_answers_otherwise_is_refused() {
    let dir = copy("vit");
    change(
        &dir.path().join(directory::WEIGHTS),
        |name, tensor| match name.contains("encoder") && name.ends_with("dense.weight")
            || name.contains("attention.attention")
        {
            true => tensor * 10.0,
            false => tensor,
        },
    );
    let Some(refused) = quantized(dir.path(), &[]) else {
        return;
    };
    let refused = refused.unwrap_err();
    assert!(matches!(refused, ModelError::Precision { .. }), "{refused}");
    assert!(
        refused.to_string().contains("nothing was written"),
        "{refused}"
    );
    assert!(!dir.path().join(directory::INT8).exists());
}

fn change(file: &Path, change: impl Fn(&str, Tensor) -> Tensor) {
    let tensors = Tensor::read_safetensors(file).unwrap();
    let changed: Vec<_> = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let tensor = change(&name, tensor);
            (name, tensor)
        })
        .collect();
    Tensor::write_safetensors(&changed, file).unwrap();
}

#[test]
fn a_record_must_be_there_be_of_these_weights_and_say_enough() {
    let dir = copy("vit");
    let load = || {
        VitClassifier::load(dir.path(), INT8)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(load().contains("saga model quantize"), "{}", load());
    let Some(agreement) = quantized(dir.path(), &[]) else {
        return;
    };
    agreement.unwrap();
    let record = dir.path().join(directory::INT8);
    let good = fs::read(&record).unwrap();
    let spoilt = |name: &str, by: fn(Tensor) -> Tensor| {
        fs::write(&record, &good).unwrap();
        change(
            &record,
            |found, tensor| if found == name { by(tensor) } else { tensor },
        );
        load()
    };
    let none = |tensor: Tensor| tensor.narrow(0, 0, 0);
    let halved = |tensor: Tensor| tensor.floor_divide_scalar(2);
    for (name, by, why) in [
        ("agreement", halved as fn(Tensor) -> Tensor, "answers agree"),
        ("agreement", none, "0 numbers in agreement"),
        ("output", |tensor| tensor + 0.5, "other probabilities"),
        ("output", none, "outputs of shape"),
        ("revision", |tensor| tensor + 1, "made for other weights"),
        ("0.high", |tensor| tensor * f64::NAN, "other probabilities"),
        ("0.low", none, "size"),
    ] {
        let message = spoilt(name, by);
        assert!(message.contains(why), "{name}: {message}");
    }
    for (name, why) in [
        ("9.low", "fewer linear maps"),
        ("9.high", "lacks the tensor 9.high"),
    ] {
        fs::write(&record, &good).unwrap();
        let kept = Tensor::read_safetensors(&record).unwrap();
        let kept: Vec<_> = kept
            .into_iter()
            .filter(|(found, _)| found != name)
            .collect();
        Tensor::write_safetensors(&kept, &record).unwrap();
        let message = load();
        assert!(message.contains(why), "{name}: {message}");
    }
    fs::write(&record, &good).unwrap();
    assert!(VitClassifier::load(dir.path(), INT8).is_ok());
    change(&dir.path().join(directory::WEIGHTS), |_, tensor| {
        tensor * 1.001
    });
    assert!(load().contains("made for other weights"), "{}", load());
}
