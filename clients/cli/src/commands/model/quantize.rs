//! `saga model quantize`: ranges for 8-bit integers, and the proof that answers stay the same.

use std::path::PathBuf;

use anyhow::Result;
use saga_imaging::{DecodeLimits, RgbImage, decode};
use saga_models::int8::{self, quantize};
use serde_json::json;

use crate::{
    args::{Global, QuantizeArgs},
    folder::{images_below, spread},
    output,
    progress::Counter,
};

/// Observes, compares, and writes the record where the answers agree.
pub async fn quantize_model(global: &Global, args: QuantizeArgs) -> Result<()> {
    let paths = spread(images_below(&args.images)?);
    let (directory, prompts) = (args.directory.clone(), args.prompts);
    let json = global.json;
    let agreement = tokio::task::spawn_blocking(move || {
        let mut pictures = Pictures::new(paths, json);
        let agreement = quantize(&directory, &prompts, &mut pictures);
        pictures.tell_unreadable();
        agreement
    });
    let agreement = agreement.await??;
    if global.json {
        return output::print_json(&json!({
            "directory": args.directory,
            "agreeing": agreement.agreeing,
            "of": agreement.of,
        }));
    }
    println!(
        "{} of {} answers agree with f32 ({}); serve it with --precision int8",
        agreement.agreeing,
        agreement.of,
        output::percent(agreement.share())
    );
    Ok(())
}

/// Reads pictures as they are asked for, and shows how far it is.
pub struct Pictures {
    paths: std::vec::IntoIter<PathBuf>,
    unreadable: Vec<PathBuf>,
    progress: Counter,
}

impl Pictures {
    pub fn new(paths: Vec<PathBuf>, json: bool) -> Self {
        let total = (int8::OBSERVED + int8::COMPARED) as u64;
        Self {
            paths: paths.into_iter(),
            unreadable: Vec::new(),
            progress: Counter::new(json, "quantize", total),
        }
    }

    /// Names the files that were left out.
    pub fn tell_unreadable(&self) {
        for path in &self.unreadable {
            eprintln!(
                "left out, not an image that can be read: {}",
                path.display()
            );
        }
    }
}

impl Iterator for Pictures {
    type Item = RgbImage;

    fn next(&mut self) -> Option<RgbImage> {
        loop {
            let path = self.paths.next()?;
            let bytes = std::fs::read(&path).ok();
            let picture = bytes.and_then(|bytes| decode(&bytes, &DecodeLimits::default()).ok());
            match picture {
                Some(picture) => {
                    self.progress.one_more();
                    return Some(picture);
                }
                None => self.unreadable.push(path),
            }
        }
    }
}
