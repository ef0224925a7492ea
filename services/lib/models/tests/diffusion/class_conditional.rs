//! The UNet of classes: served and trained it gives diffusers' figures, training reaches all of it, and edits are diffusers'.

use crate::pictures::{Replay, assert_same_pictures, picture};
use crate::{TOLERANCE, assert_near, common, group, pipeline};
use image::RgbImage;
use saga_models::diffusion::class_conditional::{ClassConditional, Request, Settings, write};
use saga_models::diffusion::noise::Seeded;
use saga_models::diffusion::scheduler::{BetaSchedule, Config, Forward, Prediction};
use saga_models::diffusion::unet::{BlockType, ClassConfig, UNet2DModel};
use saga_models::tch::{self, Device, Kind, Tensor};
use saga_models::weights::Weights;
use saga_models::{ModelError, Precision, Runtime, directory};
use std::path::Path;

const FIXTURE: &str = "class-conditional";
const EDIT: Settings = Settings {
    steps: 10,
    guidance: 3.0,
    strength: 0.6,
};

fn predicted(unet: &UNet2DModel) -> Tensor {
    let figures = group(FIXTURE, "unet");
    let times = figures["times"].to_kind(Kind::Float);
    unet.forward(&figures["samples"], &times, &figures["classes"])
        .unwrap()
}

fn to_train(runtime: Runtime) -> (UNet2DModel, Weights) {
    UNet2DModel::load_to_train(&pipeline(FIXTURE).join("unet"), runtime).unwrap()
}

#[test]
fn served_and_trained_it_predicts_the_same() {
    let expected = &group(FIXTURE, "unet")["output"];
    let served = UNet2DModel::load(&pipeline(FIXTURE).join("unet"), Runtime::REFERENCE).unwrap();
    assert_near(&predicted(&served), expected, "served");
    let (trained, _weights) = to_train(Runtime::REFERENCE);
    assert_near(&predicted(&trained), expected, "trained");
    let bf16 = Runtime {
        precision: Precision::Bf16,
        ..Runtime::REFERENCE
    };
    let (trained, _weights) = to_train(bf16);
    let distance = common::distance(&predicted(&trained), expected);
    assert!(distance > TOLERANCE && distance < 0.1, "bf16: {distance}");
}

#[test]
fn training_reaches_every_parameter_and_the_model_follows() {
    let (unet, weights) = to_train(Runtime::REFERENCE);
    let target = &group(FIXTURE, "unet")["output"] * 0.5;
    let loss = || predicted(&unet).mse_loss(&target, tch::Reduction::Mean);
    let before = loss();
    before.backward();
    for (name, mut parameter) in weights.tensors() {
        let gradient = parameter.grad();
        assert!(gradient.defined(), "{name}");
        assert!(gradient.abs().max().double_value(&[]) > 0.0, "{name}");
        tch::no_grad(|| parameter.copy_(&(&parameter - gradient * 0.01)));
        parameter.zero_grad();
    }
    let after = loss();
    after.backward();
    assert!(after.double_value(&[]) < before.double_value(&[]));
}

#[test]
fn training_shows_and_asks_what_diffusers_does() {
    let figures = group(FIXTURE, "forward");
    let [clean, noise, times] = ["clean", "noise", "times"].map(|name| &figures[name]);
    let forward = |prediction| {
        let config = Config {
            prediction_type: prediction,
            ..Config::of_pixels(prediction, BetaSchedule::SquaredCosine)
        };
        Forward::new(&config, Device::Cpu).unwrap()
    };
    let velocity = forward(Prediction::VPrediction);
    let noisy = velocity.noisy(clean, noise, times).unwrap();
    assert_near(&noisy, &figures["noisy"], "noisy");
    let target = velocity.target(clean, noise, times).unwrap();
    assert_near(&target, &figures["velocity"], "velocity");
    let target = forward(Prediction::Epsilon).target(clean, noise, times);
    assert_near(&target.unwrap(), noise, "epsilon");
}

#[test]
fn edits_are_those_of_diffusers_loop() {
    let model = ClassConditional::load(&pipeline(FIXTURE), Runtime::REFERENCE).unwrap();
    assert_eq!(model.labels(), ["joy", "fear", "calm"]);
    let figures = group(FIXTURE, "edit");
    let mut noise = Replay {
        figures: &figures,
        image: 0,
        draws: 0,
    };
    let request = Request {
        image: &picture(FIXTURE),
        label: "fear",
        noise: &mut noise,
    };
    let made = model.edit(&EDIT, &mut [request]).unwrap();
    let made: Vec<RgbImage> = made.into_iter().map(Result::unwrap).collect();
    assert_same_pictures(&made, &figures["image"], "edit");
}

fn written(dir: &Path, labels: &[&str]) -> UNet2DModel {
    let config = ClassConfig {
        sample_size: 16,
        num_class_embeds: 3,
        norm_num_groups: 4,
        attention_head_dim: 4,
        layers_per_block: 1,
        ..ClassConfig::default()
    };
    let config = config.with_levels(vec![8, 16]);
    let (unet, weights) = UNet2DModel::random(config, Runtime::REFERENCE, 3).unwrap();
    let labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
    let scheduler = Config::of_pixels(Prediction::VPrediction, BetaSchedule::SquaredCosine);
    write(dir, (&unet, &weights), &scheduler, &labels).unwrap();
    unet
}

#[test]
fn what_is_written_is_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let unet = written(dir.path(), &["joy", "fear"]);
    let model = ClassConditional::load(dir.path(), Runtime::REFERENCE).unwrap();
    assert_eq!(model.labels(), ["joy", "fear"]);
    let served = UNet2DModel::load(&dir.path().join("unet"), Runtime::REFERENCE).unwrap();
    assert_eq!(served.config(), unet.config());
    let classes = Tensor::from_slice(&[0i64, 1, 2]);
    let figures = group(FIXTURE, "unet");
    let times = figures["times"].to_kind(Kind::Float);
    let ask = |unet: &UNet2DModel| unet.forward(&figures["samples"], &times, &classes).unwrap();
    assert_near(&ask(&served), &ask(&unet), "written and loaded");
    let of_unet = directory::revision(&dir.path().join("unet")).unwrap();
    assert_eq!(directory::revision(dir.path()).unwrap(), of_unet);

    let other = tempfile::tempdir().unwrap();
    written(other.path(), &["joy"]);
    let error = ClassConditional::load(other.path(), Runtime::REFERENCE).err();
    let error = error.unwrap().to_string();
    assert!(error.contains("1 names for 2 classes"), "{error}");
}

#[test]
fn blocks_of_the_other_way_or_the_other_unet_are_refused_by_name() {
    let with = |change: fn(&mut ClassConfig)| {
        let mut config = ClassConfig {
            sample_size: 16,
            num_class_embeds: 3,
            ..ClassConfig::default()
        };
        change(&mut config);
        let made = UNet2DModel::random(config, Runtime::REFERENCE, 3);
        made.err().unwrap().to_string()
    };
    let said = with(|config| config.down_block_types[1] = BlockType::AttnUpBlock2D);
    assert!(said.contains("down_block_types: AttnUpBlock2D"), "{said}");
    let said = with(|config| config.up_block_types[3] = BlockType::DownBlock2D);
    assert!(said.contains("up_block_types: DownBlock2D"), "{said}");
    let said = with(|config| config.up_block_types[0] = BlockType::CrossAttnUpBlock2D);
    assert!(said.contains("use UpBlock2D or AttnUpBlock2D"), "{said}");
}

#[test]
fn what_cannot_be_met_is_refused() {
    let model = ClassConditional::load(&pipeline(FIXTURE), Runtime::REFERENCE).unwrap();
    let refused = |settings: Settings, label: &str, image: &RgbImage| {
        let mut noise = Seeded::new(1);
        let request = Request {
            image,
            label,
            noise: &mut noise,
        };
        let made = model.edit(&settings, &mut [request]);
        made.unwrap_err().to_string()
    };
    let image = picture(FIXTURE);
    for strength in [0.0, -1.0, 1.5, f64::NAN] {
        let said = refused(Settings { strength, ..EDIT }, "joy", &image);
        assert!(said.contains("above 0 and at most 1"), "{said}");
    }
    let said = refused(
        Settings {
            strength: 0.05,
            ..EDIT
        },
        "joy",
        &image,
    );
    assert!(said.contains("less than one"), "{said}");
    let said = refused(
        Settings {
            guidance: f64::NAN,
            ..EDIT
        },
        "joy",
        &image,
    );
    assert!(said.contains("guidance NaN"), "{said}");
    let said = refused(EDIT, "anger", &image);
    assert!(said.contains("knows joy, fear, calm"), "{said}");
    let said = refused(EDIT, "joy", &RgbImage::new(8, 16));
    assert!(said.contains("takes 16x16"), "{said}");
}

#[test]
fn samples_that_are_not_finite_are_errors_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &["joy", "fear"]);
    let (unet, weights) =
        UNet2DModel::load_to_train(&dir.path().join("unet"), Runtime::REFERENCE).unwrap();
    let mut bias = weights.tensors()["conv_out.bias"].shallow_clone();
    let _ = tch::no_grad(|| bias.fill_(f64::NAN));
    unet.write(&dir.path().join("unet"), &weights).unwrap();
    let model = ClassConditional::load(dir.path(), Runtime::REFERENCE).unwrap();
    let mut noise = Seeded::new(1);
    let image = picture(FIXTURE);
    let request = Request {
        image: &image,
        label: "joy",
        noise: &mut noise,
    };
    let made = model.edit(&EDIT, &mut [request]).unwrap();
    assert!(matches!(made.as_slice(), [Err(ModelError::NotFinite)]));
}
