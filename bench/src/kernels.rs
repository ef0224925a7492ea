//! What one core does without a service: SSIM, and decoding with resizing; and a model in this process.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use image::{GrayImage, RgbImage};
use saga_imaging::{DecodeLimits, Filter, decode, grey, resize, resize_grey, ssim};
use saga_models::tch::Tensor;
use saga_models::{Precision, Runtime};

use crate::model::forward;
use crate::peer::Round;

/// The JPEG files of one kind that [`crate::peer::Peer::prepare`] wrote: source, candidate or photograph.
pub fn files(data: &Path, kind: &str) -> Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for index in 0.. {
        let file = data.join(format!("{index:02}-{kind}.jpg"));
        if !file.is_file() {
            break;
        }
        files.push(std::fs::read(file)?);
    }
    Ok(files)
}

/// Source and candidate files.
pub fn pairs(data: &Path) -> Result<Vec<[Vec<u8>; 2]>> {
    let candidates = files(data, "candidate")?;
    let pairs = files(data, "source")?.into_iter().zip(candidates);
    Ok(pairs
        .map(|(source, candidate)| [source, candidate])
        .collect())
}

/// A round lasts as long as this at least, over and over the same inputs: the first milliseconds after a pause are slower. The
/// peer's constant of the same name.
const ROUND: Duration = Duration::from_millis(250);

/// `work` on each of the inputs for a round; `answer` is told of what came out last, and is not timed.
fn round<I, O>(
    inputs: &[I],
    work: impl Fn(&I) -> Result<O>,
    answer: impl Fn(&O) -> f64,
) -> Result<Round> {
    let (started, mut items) = (Instant::now(), 0);
    loop {
        let outputs = inputs.iter().map(&work).collect::<Result<Vec<_>>>()?;
        items += outputs.len();
        let elapsed = started.elapsed();
        if elapsed >= ROUND {
            return Ok(Round {
                seconds: elapsed.as_secs_f64(),
                items,
                answers: outputs.iter().map(|output| vec![answer(output)]).collect(),
            });
        }
    }
}

/// SSIM of grey pictures of 224 x 224.
pub fn ssim_rounds(data: &Path) -> Result<impl FnMut() -> Result<Round>> {
    let limits = DecodeLimits::default();
    let small = |file: &[u8]| -> Result<_> {
        let whole = grey(&decode(file, &limits)?);
        Ok(resize_grey(&whole, 224, 224, Filter::Bicubic))
    };
    let mut pictures = Vec::new();
    for [source, candidate] in pairs(data)? {
        pictures.push((small(&source)?, small(&candidate)?));
    }
    let work = |(a, b): &(GrayImage, GrayImage)| Ok(ssim(a, b)?);
    Ok(move || round(&pictures, work, |&value| value))
}

/// JPEG files of 512 x 512 to 224 x 224; the answer is the mean level.
pub fn decode_rounds(data: &Path, kind: &str) -> Result<impl FnMut() -> Result<Round>> {
    let limits = DecodeLimits::default();
    let files = files(data, kind)?;
    let work = move |file: &Vec<u8>| -> Result<RgbImage> {
        Ok(resize(&decode(file, &limits)?, 224, 224, Filter::Bicubic))
    };
    let mean = |picture: &RgbImage| {
        let levels = picture.as_raw();
        levels.iter().map(|&level| f64::from(level)).sum::<f64>() / levels.len() as f64
    };
    Ok(move || round(&files, work, mean))
}

/// ViT-B/16 in bf16 in this process, sixteen images in one call, twice.
pub fn vit_rounds(data: &Path) -> Result<impl FnMut() -> Result<Round>> {
    let runtime = Runtime {
        precision: Precision::Bf16,
        ..Runtime::REFERENCE
    };
    let forward = forward(&data.join("vit"), runtime)?;
    let wave: Vec<f32> = (0..16 * 3 * 224 * 224)
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    let pixels = Tensor::f_from_slice(&wave)?.f_reshape([16, 3, 224, 224])?;
    Ok(move || {
        let started = Instant::now();
        forward(&pixels)?;
        let logits = forward(&pixels)?;
        let seconds = started.elapsed().as_secs_f64();
        let row = |row: Vec<f32>| row.into_iter().map(f64::from).collect();
        Ok(Round {
            seconds,
            items: 32,
            answers: logits.into_iter().map(row).collect(),
        })
    })
}
