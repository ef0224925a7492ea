//! A load test's progress: a bar for the running step on a terminal, JSON lines otherwise.

use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use saga_load::{Event, Load, Step};
use serde_json::json;

use super::show;
use crate::progress::on_terminal;

/// Time between two JSON lines of one step.
const QUIET: Duration = Duration::from_secs(1);

/// Shows what happens.
pub struct Progress {
    /// `None`: JSON lines.
    bar: Option<ProgressBar>,
    items: usize,
    last_line: Duration,
}

impl Progress {
    /// A bar where standard error is a terminal and JSON was not asked for; `items` will be asked alone first.
    pub fn new(json: bool, items: usize) -> Self {
        Self {
            bar: on_terminal(json).then(|| bar(items)),
            items,
            last_line: Duration::ZERO,
        }
    }

    /// `done` items have been asked alone.
    pub fn learned(&self, done: usize) {
        match &self.bar {
            Some(bar) => bar.set_position(done as u64),
            None if done == self.items => {
                eprintln!("{}", json!({"event": "oracle", "items": done}))
            }
            None => {}
        }
    }

    /// One event of the load.
    pub fn show(&mut self, event: &Event<'_>) {
        match &self.bar {
            Some(bar) => draw(bar, event),
            None => self.line(event),
        }
    }

    /// The load is over.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&mut self, event: &Event<'_>) {
        let line = match event {
            Event::Started { step, load, left } => {
                self.last_line = Duration::ZERO;
                json!({"event": "step_started", "step": step, "load": load, "steps_left": left})
            }
            Event::Running {
                step,
                elapsed,
                length,
                answered,
            } => {
                if *elapsed < self.last_line + QUIET {
                    return;
                }
                self.last_line = *elapsed;
                json!({
                    "event": "progress", "step": step, "answered": answered,
                    "elapsed_seconds": elapsed.as_secs_f64(), "seconds": length.as_secs_f64(),
                })
            }
            Event::Finished(step) => json!({
                "event": "step_finished", "step": step.name, "throughput": step.throughput,
                "goodput": step.goodput, "latency_ms": step.latency_ms,
            }),
        };
        eprintln!("{line}");
    }
}

fn bar(items: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("  {prefix:<10} [{bar:24}] {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(items as u64).with_style(style);
    bar.set_prefix("oracle");
    bar.set_message("each item asked once, alone");
    bar
}

fn draw(bar: &ProgressBar, event: &Event<'_>) {
    match event {
        Event::Started { step, load, .. } => {
            bar.set_prefix((*step).to_owned());
            bar.set_position(0);
            bar.set_message(load_text(*load));
        }
        Event::Running {
            elapsed,
            length,
            answered,
            ..
        } => {
            bar.set_length(length.as_millis() as u64);
            bar.set_position(elapsed.as_millis() as u64);
            let left = HumanDuration(length.saturating_sub(*elapsed));
            bar.set_message(format!("{answered} answers, {left} left"));
        }
        Event::Finished(step) => bar.println(finished(step)),
    }
}

fn load_text(load: Load) -> String {
    match load {
        Load::Open { rate } => format!("{rate:.1} requests a second"),
        Load::Closed { concurrency } => format!("{concurrency} callers"),
    }
}

fn finished(step: &Step) -> String {
    format!(
        "  {:<10} {:>8}/s  p50 {} ms  p99 {} ms",
        step.name,
        show::figure(Some(step.throughput)),
        show::figure(step.latency_ms.map(|latency| latency.p50)),
        show::figure(step.latency_ms.map(|latency| latency.p99)),
    )
}
