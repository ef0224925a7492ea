//! What one core does without a service: SSIM, and decoding with resizing; and a model in this process.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
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

/// SSIM of grey pictures of 224 x 224.
pub fn ssim_round(data: &Path) -> Result<Round> {
    let limits = DecodeLimits::default();
    let mut pictures = Vec::new();
    for [source, candidate] in pairs(data)? {
        let small = |file: &[u8]| -> Result<_> {
            let whole = grey(&decode(file, &limits)?);
            Ok(resize_grey(&whole, 224, 224, Filter::Bicubic))
        };
        pictures.push((small(&source)?, small(&candidate)?));
    }
    let started = Instant::now();
    let mut answers = Vec::new();
    for (a, b) in &pictures {
        answers.push(vec![ssim(a, b)?]);
    }
    Ok(Round {
        seconds: started.elapsed().as_secs_f64(),
        items: answers.len(),
        answers,
    })
}

/// JPEG files of 512 x 512 to 224 x 224; the answer is the mean level.
pub fn decode_round(files: &[Vec<u8>]) -> Result<Round> {
    let limits = DecodeLimits::default();
    let started = Instant::now();
    let mut small = Vec::new();
    for file in files {
        small.push(resize(&decode(file, &limits)?, 224, 224, Filter::Bicubic));
    }
    let seconds = started.elapsed().as_secs_f64();
    let mean = |levels: &[u8]| {
        levels.iter().map(|&level| f64::from(level)).sum::<f64>() / levels.len() as f64
    };
    Ok(Round {
        seconds,
        items: small.len(),
        answers: small
            .iter()
            .map(|picture| vec![mean(picture.as_raw())])
            .collect(),
    })
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
