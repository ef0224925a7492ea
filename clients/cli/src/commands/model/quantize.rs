//! `saga model quantize`: ranges for 8-bit integers, and the proof that answers stay the same.

use std::{path::PathBuf, time::Instant};

use anyhow::Result;
use saga_imaging::{DecodeLimits, RgbImage, decode};
use saga_models::int8::{self, quantize};
use saga_proto::orchestrator::v1::{StageProgress, WatchRunResponse, watch_run_response::Event};
use serde_json::json;

use crate::{
    args::{Global, QuantizeArgs},
    folder::{images_below, spread},
    output,
    progress::Progress,
};

/// Observes, compares, and writes the record where the answers agree.
pub async fn quantize_model(global: &Global, args: QuantizeArgs) -> Result<()> {
    let paths = spread(images_below(&args.images)?);
    let (directory, prompts) = (args.directory.clone(), args.prompts);
    let progress = Progress::new(global.json);
    let agreement = tokio::task::spawn_blocking(move || {
        let mut pictures = Pictures::new(paths, progress);
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
    progress: Progress,
    started: Instant,
    done: u64,
}

impl Pictures {
    pub fn new(paths: Vec<PathBuf>, progress: Progress) -> Self {
        Self {
            paths: paths.into_iter(),
            unreadable: Vec::new(),
            progress,
            started: Instant::now(),
            done: 0,
        }
    }

    /// One in so many is shown.
    const SHOWN: u64 = 16;

    fn show(&mut self) {
        self.done += 1;
        if !self.done.is_multiple_of(Self::SHOWN) {
            return;
        }
        let total = (int8::OBSERVED + int8::COMPARED) as u64;
        let rate = self.done as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let left = total.saturating_sub(self.done) as f64 / rate;
        let event = Event::StageProgress(StageProgress {
            stage: "quantize".to_owned(),
            done: self.done,
            total,
            rate_per_second: rate,
            eta: std::time::Duration::from_secs_f64(left).try_into().ok(),
            waiting_for: String::new(),
        });
        // Progress that cannot be shown is no reason to stop.
        let event = Some(event);
        let _ = self.progress.show(&WatchRunResponse { event });
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
                    self.show();
                    return Some(picture);
                }
                None => self.unreadable.push(path),
            }
        }
    }
}
