//! Turns answers into the figures of a step.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use hdrhistogram::{CreationError, Histogram};
use saga_proto::r#type::v1::Timing;
use tonic::Code;

use crate::{
    call::Answer,
    step::{Intervals, Lateness, Load, Stages, Step},
    times::{Times, interval, nanoseconds},
};

/// The part of the latency's median that lateness may have where that is more than the fixed limit.
const LATENESS_SHARE: f64 = 0.1;

/// What answers are measured against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) deadline: Duration,
    pub(crate) max_lateness: Duration,
}

/// The measured part of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// The end of the warm-up.
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

impl Window {
    fn holds(&self, at: Instant) -> bool {
        (self.from..self.until).contains(&at)
    }
}

/// Collects the answers of a step.
pub(crate) struct Recorder {
    load: Load,
    window: Window,
    limits: Limits,
    begun: SystemTime,
    requests: u64,
    /// OK answers of those within the deadline.
    in_time: u64,
    /// OK answers that came within the window, and those within the deadline.
    done: [u64; 2],
    latency: Times,
    lateness: Times,
    stages: [Times; 4],
    batch_sizes: BTreeMap<u32, u64>,
    outcomes: BTreeMap<String, u64>,
    intervals: Vec<Histogram<u32>>,
    mismatches: u64,
    first_mismatch: Option<String>,
}

impl Recorder {
    pub(crate) fn new(load: Load, window: Window, limits: Limits) -> Result<Self, CreationError> {
        let ahead = window.from.saturating_duration_since(Instant::now());
        Ok(Self {
            load,
            window,
            limits,
            begun: SystemTime::now() + ahead,
            requests: 0,
            in_time: 0,
            done: [0; 2],
            latency: Times::new()?,
            lateness: Times::new()?,
            stages: [Times::new()?, Times::new()?, Times::new()?, Times::new()?],
            batch_sizes: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            intervals: Vec::new(),
            mismatches: 0,
            first_mismatch: None,
        })
    }

    /// Takes one answer. Those outside the window count only where they are wrong.
    ///
    /// Rates are of the answers that came within it: under overload a gate begins the window with requests of the warm-up and ends
    /// it with others in its queue, and what it is able to do is what it gets done meanwhile.
    pub(crate) fn record(&mut self, answer: Answer) -> Result<(), CreationError> {
        if answer.mismatch.is_some() {
            self.mismatches += 1;
        }
        let measured = self.measures(&answer);
        let (latency, lateness) = (answer.latency(), answer.lateness());
        let in_time = latency <= self.limits.deadline;
        if answer.code == Code::Ok && self.window.holds(answer.done) {
            let [all, of_these_in_time] = &mut self.done;
            *all += 1;
            *of_these_in_time += u64::from(in_time);
        }
        self.first_mismatch = self.first_mismatch.take().or(answer.mismatch);
        if !measured {
            return Ok(());
        }
        self.requests += 1;
        self.lateness.record(lateness);
        *self.outcomes.entry(code_name(answer.code)).or_default() += 1;
        if answer.code == Code::Ok {
            self.in_time += u64::from(in_time);
            if let Some(timing) = &answer.timing {
                self.record_stages(timing, latency);
            }
        }
        if matches!(answer.code, Code::Ok | Code::DeadlineExceeded) {
            self.latency.record(latency);
            self.record_interval(answer.done, latency)?;
        }
        Ok(())
    }

    /// OK answers so far, within the window.
    pub(crate) fn answered(&self) -> u64 {
        self.outcomes.get("OK").copied().unwrap_or_default()
    }

    /// The figures; `stopped` is when the load ended before its time.
    pub(crate) fn finish(self, name: &str, stopped: Option<Instant>) -> Step {
        let planned_end = self.window.until;
        let end = stopped.map_or(planned_end, |stopped| stopped.min(planned_end));
        let since = |end: Instant| {
            let window = end.saturating_duration_since(self.window.from);
            window.as_secs_f64()
        };
        let seconds = since(end);
        let per_second = |count: u64| {
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        let is_open = matches!(self.load, Load::Open { .. });
        let [answered, in_time] = self.done;
        let latency_ms = self.latency.percentiles();
        let median = latency_ms.map_or(0.0, |latency| latency.p50);
        Step {
            name: name.to_owned(),
            load: self.load,
            seconds,
            requests: self.requests,
            offered: is_open.then(|| per_second(self.requests)),
            throughput: per_second(answered),
            goodput: per_second(in_time),
            goodput_share: self.in_time as f64 / self.requests.max(1) as f64,
            latency_ms,
            lateness: is_open.then(|| lateness(&self.lateness, median, self.limits.max_lateness)),
            mismatches: self.mismatches,
            first_mismatch: self.first_mismatch,
            batch_sizes: self.batch_sizes,
            stages_ms: stages(&self.stages),
            outcomes: self.outcomes,
            log: Intervals {
                begun: self.begun,
                histograms: self.intervals,
            },
        }
    }

    /// The open loop measures the requests that were due within the window, for each of them is owed an answer; the closed
    /// loop what was answered within it, for its pace is the gate's.
    fn measures(&self, answer: &Answer) -> bool {
        self.window.holds(match self.load {
            Load::Open { .. } => answer.intended,
            Load::Closed { .. } => answer.done,
        })
    }

    fn record_stages(&mut self, timing: &Timing, latency: Duration) {
        *self.batch_sizes.entry(timing.batch_size).or_default() += 1;
        let told = [&timing.queue, &timing.decode, &timing.compute].map(|stage| {
            let stage = stage.as_ref().map(|&stage| Duration::try_from(stage));
            stage.and_then(Result::ok).unwrap_or_default()
        });
        let elsewhere = latency.saturating_sub(told.iter().sum());
        for (times, time) in self
            .stages
            .iter_mut()
            .zip(told.into_iter().chain([elsewhere]))
        {
            times.record(time);
        }
    }

    fn record_interval(&mut self, done: Instant, latency: Duration) -> Result<(), CreationError> {
        let second = done.saturating_duration_since(self.window.from).as_secs() as usize;
        while self.intervals.len() <= second {
            self.intervals.push(interval()?);
        }
        if let Some(interval) = self.intervals.get_mut(second) {
            // Grows as needed; what is longer than an hour was cut to one.
            let _ = interval.record(nanoseconds(latency));
        }
        Ok(())
    }
}

fn lateness(times: &Times, median_ms: f64, max: Duration) -> Lateness {
    let limit_ms = (max.as_secs_f64() * 1e3).max(LATENESS_SHARE * median_ms);
    let p99_ms = times.at(0.99);
    Lateness {
        p99_ms,
        max_ms: times.at(1.0),
        limit_ms,
        void: p99_ms > limit_ms,
    }
}

fn stages([queue, decode, compute, elsewhere]: &[Times; 4]) -> Option<Stages> {
    Some(Stages {
        queue: queue.percentiles()?,
        decode: decode.percentiles()?,
        compute: compute.percentiles()?,
        elsewhere: elsewhere.percentiles()?,
    })
}

/// The code as gRPC writes it: RESOURCE_EXHAUSTED.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests;
