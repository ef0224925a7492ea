//! Whole pipelines on recorded noise, and what a picture must not depend on.

use crate::{PROMPTS, assert_near, group, pipeline};
use image::RgbImage;
use saga_models::diffusion::lora::Lora;
use saga_models::diffusion::noise::{Noise, Seeded};
use saga_models::diffusion::scheduler::Kind;
use saga_models::diffusion::text_encoder::TextEncoder;
use saga_models::diffusion::{Request, Settings, StableDiffusion, Task};
use saga_models::tch::Tensor;
use saga_models::{ModelError, Precision, Runtime};
use std::collections::HashMap;

/// Plays one image's share of recorded noise back, draw by draw.
pub(crate) struct Replay<'a> {
    pub(crate) figures: &'a HashMap<String, Tensor>,
    pub(crate) image: i64,
    pub(crate) draws: usize,
}

impl Noise for Replay<'_> {
    fn draw(&mut self, shape: &[i64]) -> Result<Tensor, ModelError> {
        let recorded = &self.figures[&format!("noise.{}", self.draws)];
        let noise = recorded.narrow(0, self.image, 1);
        assert_eq!(noise.size(), shape);
        self.draws += 1;
        Ok(noise)
    }
}

fn load(name: &str) -> StableDiffusion {
    StableDiffusion::load(&pipeline(name), Runtime::REFERENCE, &[]).unwrap()
}

pub(crate) fn picture(name: &str) -> RgbImage {
    image::open(pipeline(name).join("picture.png"))
        .unwrap()
        .to_rgb8()
}

/// Levels differ by at most one on 99.9 % of the pixels.
pub(crate) fn assert_same_pictures(found: &[RgbImage], expected: &Tensor, what: &str) {
    let expected: Vec<u8> = Vec::try_from(expected.reshape([-1])).unwrap();
    let found: Vec<u8> = found
        .iter()
        .flat_map(|image| image.as_raw().clone())
        .collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    let (least, most) = (
        expected.iter().min().unwrap(),
        expected.iter().max().unwrap(),
    );
    assert!(most - least > 50, "{what}: a blank picture proves nothing");
    let pixels = found.chunks(3).zip(expected.chunks(3));
    let far = |(a, b): &(&[u8], &[u8])| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 1);
    let far = pixels.filter(far).count();
    assert!(far * 1000 * 3 <= found.len(), "{what}: {far} pixels");
}

/// Makes the pictures of a fixture's group with the noise that was recorded there.
fn make(
    pipeline: &StableDiffusion,
    name: &str,
    figures: &HashMap<String, Tensor>,
    settings: &Settings,
) -> Vec<RgbImage> {
    let picture = match settings.task {
        Task::TextToImage { .. } => None,
        _ => Some(picture(name)),
    };
    let count = figures["image"].size()[0];
    let mut noises: Vec<Replay> = (0..count)
        .map(|image| Replay {
            figures,
            image,
            draws: 0,
        })
        .collect();
    let texts = PROMPTS
        .into_iter()
        .zip(["", if count > 1 { "joy" } else { "" }]);
    let requests = noises
        .iter_mut()
        .zip(texts)
        .map(|(noise, (prompt, negative_prompt))| Request {
            prompt,
            negative_prompt,
            image: picture.as_ref(),
            noise,
        });
    let mut requests: Vec<Request> = requests.collect();
    let made = pipeline.generate(settings, &mut requests).unwrap();
    drop(requests);
    let recorded = figures
        .keys()
        .filter(|name| name.starts_with("noise"))
        .count();
    assert!(noises.iter().all(|noise| noise.draws == recorded));
    made.into_iter().map(Result::unwrap).collect()
}

fn settings(scheduler: &str, steps: usize, guidance: f64, task: Task) -> Settings {
    Settings {
        steps,
        guidance,
        scheduler: scheduler.parse().unwrap(),
        task,
    }
}

const TEXT: Task = Task::TextToImage {
    width: 48,
    height: 64,
};

#[test]
fn pictures_of_texts_are_the_same() {
    for (name, scheduler, steps) in [
        ("sd", "pndm", 6),
        ("sd", "ddim", 6),
        ("sd", "euler-a", 6),
        ("sd", "dpm++2m", 6),
        ("sd-v", "ddim", 5),
    ] {
        let figures = group(name, &format!("text-{scheduler}"));
        let settings = settings(scheduler, steps, 7.5, TEXT);
        let made = make(&load(name), name, &figures, &settings);
        assert_same_pictures(&made, &figures["image"], &format!("{name} {scheduler}"));
    }
}

#[test]
fn pictures_of_pictures_are_the_same() {
    let pipeline = load("sd");
    for scheduler in ["pndm", "ddim", "euler-a", "dpm++2m"] {
        let figures = group("sd", &format!("image-{scheduler}"));
        let settings = settings(scheduler, 6, 5.0, Task::ImageToImage { strength: 0.6 });
        let made = make(&pipeline, "sd", &figures, &settings);
        assert_same_pictures(&made, &figures["image"], scheduler);
    }
}

#[test]
fn pictures_by_instruction_are_the_same() {
    let pipeline = load("instruct");
    for scheduler in ["pndm", "euler-a"] {
        let figures = group("instruct", &format!("instruct-{scheduler}"));
        let task = Task::Instruct {
            image_guidance: 1.5,
        };
        let made = make(
            &pipeline,
            "instruct",
            &figures,
            &settings(scheduler, 6, 7.0, task),
        );
        assert_same_pictures(&made, &figures["image"], scheduler);
    }
}

#[test]
fn changes_of_weights_are_merged_as_diffusers_applies_them() {
    for (file, scale) in [("diffusers", 1.0), ("kohya", 1.0)] {
        let path = pipeline("sd")
            .join("lora")
            .join(format!("{file}.safetensors"));
        let loras = [Lora { path, scale }];
        let figures = group("sd", &format!("lora-{file}"));
        let pipeline = StableDiffusion::load(&pipeline("sd"), Runtime::REFERENCE, &loras).unwrap();
        let found = pipeline
            .unet()
            .forward(&figures["latents"], 321.0, &figures["context"]);
        assert_near(&found.unwrap(), &figures["output"], file);
        let found = pipeline.text_encoder().forward(&PROMPTS).unwrap();
        assert_near(&found, &figures["hidden"], file);
    }
    // Without them it is another model.
    let plain = TextEncoder::load(&pipeline("sd"), Runtime::REFERENCE, Ok).unwrap();
    let changed = &group("sd", "lora-kohya")["hidden"];
    assert!(crate::common::distance(&plain.forward(&PROMPTS).unwrap(), changed) > 1e-2);
}

/// Pictures of these seeds in one batch.
fn seeded(pipeline: &StableDiffusion, seeds: &[u64], settings: &Settings) -> Vec<RgbImage> {
    let mut noises: Vec<Seeded> = seeds.iter().map(|seed| Seeded::new(*seed)).collect();
    let requests = noises.iter_mut().map(|noise| Request {
        prompt: PROMPTS[0],
        negative_prompt: "",
        image: None,
        noise,
    });
    let mut requests: Vec<Request> = requests.collect();
    let made = pipeline.generate(settings, &mut requests).unwrap();
    made.into_iter().map(Result::unwrap).collect()
}

fn farthest(a: &RgbImage, b: &RgbImage) -> u8 {
    let pairs = a.as_raw().iter().zip(b.as_raw());
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn a_picture_depends_on_its_seed_and_not_on_its_batch() {
    let pipeline = load("sd");
    for scheduler in [Kind::Pndm, Kind::EulerAncestral] {
        let settings = Settings {
            steps: 4,
            guidance: 7.5,
            scheduler,
            task: TEXT,
        };
        let batch = seeded(&pipeline, &[1, 2, 3], &settings);
        assert!(farthest(&batch[0], &batch[1]) > 20);
        for (seed, image) in (1..).zip(&batch) {
            let alone = seeded(&pipeline, &[seed], &settings);
            assert!(farthest(&alone[0], image) <= 1);
            assert_eq!(seeded(&pipeline, &[seed], &settings), alone);
        }
    }
}

#[test]
fn bf16_is_near_f32() {
    let runtime = Runtime {
        precision: Precision::Bf16,
        ..Runtime::REFERENCE
    };
    let fast = StableDiffusion::load(&pipeline("sd"), runtime, &[]).unwrap();
    let settings = settings("dpm++2m", 4, 2.0, TEXT);
    let (a, b) = (
        seeded(&load("sd"), &[7], &settings),
        seeded(&fast, &[7], &settings),
    );
    let difference: u64 = a[0]
        .as_raw()
        .iter()
        .zip(b[0].as_raw())
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    assert!(difference <= 4 * a[0].as_raw().len() as u64, "{difference}");
}
