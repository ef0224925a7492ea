//! Progress of work that a command does itself, shown like a stage of a run.

use std::time::{Duration, Instant};

use saga_proto::orchestrator::v1::{StageProgress, WatchRunResponse, watch_run_response::Event};

use super::Progress;

/// Least time between two reports.
const QUIET: Duration = Duration::from_secs(1);

/// Counts items and now and then shows how many there are.
pub struct Counter {
    progress: Progress,
    stage: &'static str,
    done: u64,
    total: u64,
    begun: Instant,
    told: Instant,
}

impl Counter {
    /// None of `total` is done; JSON lines if `json`.
    pub fn new(json: bool, stage: &'static str, total: u64) -> Self {
        let now = Instant::now();
        Self {
            progress: Progress::new(json),
            stage,
            done: 0,
            total,
            begun: now,
            told: now,
        }
    }

    pub fn one_more(&mut self) {
        self.done += 1;
        if self.told.elapsed() < QUIET {
            return;
        }
        self.told = Instant::now();
        let rate = self.done as f64 / self.begun.elapsed().as_secs_f64();
        let left = self.total.saturating_sub(self.done) as f64 / rate;
        let event = Some(Event::StageProgress(StageProgress {
            stage: self.stage.to_owned(),
            done: self.done,
            total: self.total,
            rate_per_second: rate,
            eta: Duration::from_secs_f64(left).try_into().ok(),
            waiting_for: String::new(),
        }));
        // Progress that cannot be shown is no reason to stop.
        let _ = self.progress.show(&WatchRunResponse { event });
    }
}
