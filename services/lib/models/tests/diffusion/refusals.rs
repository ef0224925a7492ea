//! What a directory or a request must not be, and that the answer names it.

use crate::pipeline;
use image::RgbImage;
use saga_models::diffusion::lora::Lora;
use saga_models::diffusion::noise::Seeded;
use saga_models::diffusion::{Request, Settings, StableDiffusion, Task};
use saga_models::tch::Tensor;
use saga_models::{ModelError, Precision, Runtime};
use std::fs;
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// What a copy of a pipeline says after `damage` was done to it.
fn refusal(name: &str, damage: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    copy(&pipeline(name), dir.path());
    damage(dir.path());
    let loaded = StableDiffusion::load(dir.path(), Runtime::REFERENCE, &[]);
    loaded.err().expect("a damaged pipeline").to_string()
}

fn edited(file: &'static str, from: &'static str, to: &'static str) -> impl FnOnce(&Path) {
    move |dir| {
        let text = fs::read_to_string(dir.join(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(dir.join(file), text.replace(from, to)).unwrap();
    }
}

fn without(file: &'static str) -> impl FnOnce(&Path) {
    move |dir| fs::remove_file(dir.join(file)).unwrap()
}

/// Takes one tensor out of a part's weights and puts another in.
fn renamed(part: &'static str, from: &'static str, to: &'static str) -> impl FnOnce(&Path) {
    move |dir| {
        let file = dir.join(part).join("diffusion_pytorch_model.safetensors");
        let mut tensors = Tensor::read_safetensors(&file).unwrap();
        let tensor = tensors.iter_mut().find(|(name, _)| name == from).unwrap();
        tensor.0 = to.to_owned();
        Tensor::write_safetensors(&tensors, &file).unwrap();
    }
}

fn assert_names(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn files_that_are_missing_are_named() {
    let shard = "unet/diffusion_pytorch_model-00002-of-00007.safetensors";
    let single = "unet/diffusion_pytorch_model.safetensors";
    for (name, file, words) in [
        (
            "sd",
            "model_index.json",
            ["model_index.json", "No such file"],
        ),
        ("sd", "vae/config.json", ["vae/config.json", "No such file"]),
        ("sd", single, ["unet/model.safetensors", "not found"]),
        (
            "sd",
            "tokenizer/vocab.json",
            ["tokenizer/vocab.json", "No such file"],
        ),
        ("sd-v", shard, [shard, "No such file"]),
    ] {
        assert_names(&refusal(name, without(file)), &words);
    }
}

#[test]
fn tensors_and_keys_that_do_not_fit_are_named() {
    let error = refusal("sd", renamed("unet", "conv_in.bias", "conv_in.bais"));
    assert_names(
        &error,
        &[
            "unet",
            "1 missing (conv_in.bias)",
            "1 surplus (conv_in.bais)",
        ],
    );
    let error = refusal(
        "sd",
        edited(
            "unet/config.json",
            "\"in_channels\": 4",
            "\"in_channels\": 8",
        ),
    );
    assert_names(
        &error,
        &["unet", "1 misshapen (conv_in.weight: expected [8, 8, 3, 3]"],
    );
    for (file, from, to, words) in [
        (
            "unet/config.json",
            "\"silu\"",
            "\"mish\"",
            ["unet", "act_fn: \"mish\" is not supported; use \"silu\""],
        ),
        (
            "unet/config.json",
            "\"norm_num_groups\": 4",
            "\"norm_num_groups\": 3",
            ["unet", "norm_num_groups"],
        ),
        (
            "unet/config.json",
            "\"CrossAttnUpBlock2D\"",
            "\"K\"",
            ["unet", "config.json"],
        ),
        (
            "vae/config.json",
            "\"scaling_factor\": 0.18215",
            "\"scaling_factor\": 0",
            ["vae", "scaling_factor"],
        ),
        (
            "vae/config.json",
            "UpDecoderBlock2D",
            "UpBlock2D",
            ["vae", "up_block_types"],
        ),
        (
            "model_index.json",
            "CLIPTextModel",
            "T5EncoderModel",
            ["model_index.json", "text_encoder: \"T5EncoderModel\""],
        ),
        (
            "scheduler/scheduler_config.json",
            "PNDMScheduler",
            "LMSScheduler",
            ["scheduler_config.json", "_class_name: \"LMSScheduler\""],
        ),
        (
            "tokenizer/tokenizer_config.json",
            "\"pad_token\": \"<|endoftext|>\"",
            "\"pad_token\": \"<pad>\"",
            ["tokenizer", "no token <pad>"],
        ),
    ] {
        assert_names(&refusal("sd", edited(file, from, to)), &words);
    }
}

#[test]
fn changes_that_do_not_fit_are_named() {
    let load = |path: &Path, runtime| {
        let loras = [Lora {
            path: path.to_owned(),
            scale: 1.0,
        }];
        let loaded = StableDiffusion::load(&pipeline("sd"), runtime, &loras);
        loaded.err().unwrap().to_string()
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("changes.safetensors");
    assert_names(
        &load(&file, Runtime::REFERENCE),
        &["changes.safetensors", "No such file"],
    );
    let wide = Tensor::zeros(
        [2, 99],
        (saga_models::tch::Kind::Float, saga_models::tch::Device::Cpu),
    );
    for (name, words) in [
        (
            "lora_unet_conv_in.lora_down.weight",
            "1 misshapen (conv_in: not two factors",
        ),
        ("lora_unet_conv_on.lora_down.weight", "1 surplus (conv_on)"),
        (
            "unet.conv_in.dora_scale",
            "1 surplus (unet.conv_in.dora_scale)",
        ),
    ] {
        Tensor::write_safetensors(&[(name, &wide)], &file).unwrap();
        assert_names(
            &load(&file, Runtime::REFERENCE),
            &["changes.safetensors", words],
        );
    }
    let int8 = Runtime {
        precision: Precision::Int8,
        ..Runtime::REFERENCE
    };
    assert_names(&load(&file, int8), &["int8"]);
}

#[test]
fn settings_that_cannot_be_met_say_what_would_be() {
    let (sd, instruct) = ("sd", "instruct");
    let text = |width, height| Task::TextToImage { width, height };
    let image = |strength| Task::ImageToImage { strength };
    let instructed = |image_guidance| Task::Instruct { image_guidance };
    for (name, task, steps, guidance, side, words) in [
        (
            sd,
            text(60, 64),
            2,
            2.0,
            0,
            "60x64 pixels; sides must be multiples of 8",
        ),
        (sd, text(0, 64), 2, 2.0, 0, "multiples of 8"),
        (sd, text(64, 64), 0, 2.0, 0, "use 1 to 1000"),
        (sd, text(64, 64), 2, f64::NAN, 0, "guidance NaN"),
        (
            sd,
            image(0.0),
            4,
            2.0,
            64,
            "strength 0; use one above 0 and at most 1",
        ),
        (sd, image(1.01), 4, 2.0, 64, "strength 1.01"),
        (sd, image(f64::NAN), 4, 2.0, 64, "strength NaN"),
        (sd, image(0.2), 4, 2.0, 64, "less than one"),
        (sd, image(0.5), 4, 2.0, 0, "no image"),
        (sd, image(0.5), 4, 2.0, 65, "65x65"),
        (
            sd,
            instructed(1.5),
            4,
            2.0,
            64,
            "does not follow instructions",
        ),
        (
            instruct,
            text(64, 64),
            2,
            2.0,
            0,
            "edits an image by instruction",
        ),
        (instruct, instructed(0.5), 2, 2.0, 64, "image guidance 0.5"),
    ] {
        let picture = (side > 0).then(|| RgbImage::new(side, side));
        let pipeline = StableDiffusion::load(&pipeline(name), Runtime::REFERENCE, &[]).unwrap();
        let scheduler = pipeline.scheduler();
        let settings = Settings {
            steps,
            guidance,
            scheduler,
            task,
        };
        let mut noise = Seeded::new(1);
        let request = Request {
            prompt: "joy",
            negative_prompt: "",
            image: picture.as_ref(),
            noise: &mut noise,
        };
        let error = pipeline.generate(&settings, &mut [request]).unwrap_err();
        assert!(matches!(error, ModelError::Input(_)), "{error}");
        assert_names(&error.to_string(), &[words]);
    }
}

#[test]
fn a_picture_that_becomes_nan_fails_alone() {
    /// Noise that is no number.
    struct Broken;
    impl saga_models::diffusion::noise::Noise for Broken {
        fn draw(&mut self, shape: &[i64]) -> Result<Tensor, ModelError> {
            let float = (saga_models::tch::Kind::Float, saga_models::tch::Device::Cpu);
            Ok(Tensor::full(shape, f64::NAN, float))
        }
    }
    let pipeline = StableDiffusion::load(&pipeline("sd"), Runtime::REFERENCE, &[]).unwrap();
    let (mut broken, mut sound) = (Broken, Seeded::new(3));
    let request = |noise| Request {
        prompt: "joy",
        negative_prompt: "",
        image: None,
        noise,
    };
    let mut requests = [request(&mut broken), request(&mut sound)];
    let task = Task::TextToImage {
        width: 32,
        height: 32,
    };
    let settings = Settings {
        steps: 2,
        guidance: 3.0,
        scheduler: pipeline.scheduler(),
        task,
    };
    let made = pipeline.generate(&settings, &mut requests).unwrap();
    assert!(matches!(made[0], Err(ModelError::NotFinite)));
    assert!(made[1].is_ok());
}
