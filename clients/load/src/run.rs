//! One load test: a step, or the steps of a sweep.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde::{Serialize, Serializer};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::{
    call::{Answer, Caller},
    closed_loop,
    error::LoadError,
    knee::knee,
    open_loop,
    recorder::{Limits, Recorder, Window},
    report::{Gate, Report},
    schedule::poisson,
    step::{Load, Step},
    target::Target,
    workload::Workload,
};

/// Rates of a sweep as shares of the peak: few where nothing happens, more around the peak, and beyond it, where a gate must
/// shed.
pub const SWEEP: [f64; 10] = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5];

const TICK: Duration = Duration::from_millis(200);

/// Longest wait for a gate to come to rest after a step.
const REST: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Plan {
    /// One step.
    Single(Load),
    /// The closed loop for the peak, then open loops at the shares [`SWEEP`] of it.
    Sweep {
        /// Callers of the closed loop.
        concurrency: usize,
    },
}

/// How to measure.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Options {
    /// Of each step, before it is measured.
    #[serde(serialize_with = "seconds", rename = "warm_up_seconds")]
    pub warm_up: Duration,
    /// Of each step, measured.
    #[serde(serialize_with = "seconds", rename = "duration_seconds")]
    pub duration: Duration,
    /// From the intended send time. The open loop tells it to the gate; goodput counts the answers within it.
    #[serde(serialize_with = "seconds", rename = "deadline_seconds")]
    pub deadline: Duration,
    /// The generator's p99 lateness beyond which a step is void, or 10 % of the median latency where that is more.
    #[serde(serialize_with = "seconds", rename = "max_lateness_seconds")]
    pub max_lateness: Duration,
    /// Largest difference between an item's scores alone and under load.
    pub tolerance: f64,
    /// Of the arrivals.
    pub seed: u64,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step begins.
    Started {
        /// Its name.
        step: &'a str,
        /// How requests are made.
        load: Load,
        /// How many come after it.
        left: usize,
    },
    /// It goes on.
    Running {
        /// Its name.
        step: &'a str,
        /// Since it began, warm-up included.
        elapsed: Duration,
        /// How long it will take, warm-up included.
        length: Duration,
        /// OK answers measured so far.
        answered: u64,
    },
    /// It is over.
    Finished(&'a Step),
}

/// Loads `target` with `workload` until the plan is done or `stop` is cancelled; `on` is told meanwhile.
///
/// # Errors
/// A rate that makes no schedule.
pub async fn run(
    target: &Target,
    workload: Workload,
    plan: Plan,
    options: Options,
    stop: &CancellationToken,
    on: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Report, LoadError> {
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut report = Report {
        gate: gate(target),
        started: started.unwrap_or_default().as_secs_f64(),
        items: workload.len(),
        connections: target.connections(),
        options,
        steps: Vec::new(),
        peak: None,
        knee: None,
        interrupted: false,
    };
    let caller = Caller {
        target: target.clone(),
        workload: Arc::new(workload),
        tolerance: options.tolerance,
    };
    let mut runner = Runner {
        caller: Arc::new(caller),
        options,
        stop,
        on,
    };
    match plan {
        Plan::Single(load) => {
            let name = match load {
                Load::Open { .. } => "open",
                Load::Closed { .. } => "closed",
            };
            report.steps.push(runner.step(name, load, 0, 0).await?);
        }
        Plan::Sweep { concurrency } => {
            report.steps = runner.sweep(concurrency).await?;
            report.peak = report.steps.first().map(|peak| peak.throughput);
            report.knee = knee(&report.steps);
        }
    }
    report.interrupted = stop.is_cancelled();
    Ok(report)
}

fn gate(target: &Target) -> Gate {
    let described = target.description();
    Gate {
        address: target.address().to_owned(),
        name: described.name.clone(),
        description: described.description.clone(),
        model: described
            .model
            .as_ref()
            .map(|model| format!("{} {} {}", model.name, model.id, model.revision)),
    }
}

struct Runner<'a> {
    caller: Arc<Caller>,
    options: Options,
    stop: &'a CancellationToken,
    on: &'a mut (dyn FnMut(Event<'_>) + Send),
}

impl Runner<'_> {
    /// The peak, then each share of it; ends early where there is no peak or a stop.
    async fn sweep(&mut self, concurrency: usize) -> Result<Vec<Step>, LoadError> {
        let mut left = SWEEP.len();
        let closed = Load::Closed { concurrency };
        let peak = self.step("peak", closed, 0, left).await?;
        let throughput = peak.throughput;
        let mut steps = vec![peak];
        for (turn, share) in (1..).zip(SWEEP) {
            if self.stop.is_cancelled() || throughput <= 0.0 {
                break;
            }
            left -= 1;
            let name = format!("{:.0}%", share * 100.0);
            let rate = throughput * share;
            steps.push(self.step(&name, Load::Open { rate }, turn, left).await?);
        }
        Ok(steps)
    }

    /// One step; `turn` varies the seed, so that the steps of a sweep do not share their bursts.
    async fn step(
        &mut self,
        name: &str,
        load: Load,
        turn: u64,
        left: usize,
    ) -> Result<Step, LoadError> {
        let Options {
            warm_up,
            duration,
            deadline,
            max_lateness,
            seed,
            ..
        } = self.options;
        let length = warm_up + duration;
        let arrivals = match load {
            Load::Open { rate } => poisson(rate, length, seed.wrapping_add(turn))?,
            Load::Closed { .. } => Vec::new(),
        };
        (self.on)(Event::Started {
            step: name,
            load,
            left,
        });
        let begun = Instant::now();
        let window = Window {
            from: begun + warm_up,
            until: begun + length,
        };
        let limits = Limits {
            deadline,
            max_lateness,
        };
        let mut recorder = Recorder::new(load, window, limits)?;
        let (sender, answers) = mpsc::unbounded_channel();
        let caller = Arc::clone(&self.caller);
        let stopped = match load {
            Load::Open { .. } => {
                let stop = self.stop.clone();
                let pacer = open_loop::start(caller, arrivals, begun, deadline, stop, sender);
                self.collect(name, begun, length, answers, &mut recorder)
                    .await?;
                pacer.await?
            }
            Load::Closed { concurrency } => {
                closed_loop::start(&caller, concurrency, window.until, self.stop, &sender);
                drop(sender);
                self.collect(name, begun, length, answers, &mut recorder)
                    .await?;
                self.stop.is_cancelled().then(Instant::now)
            }
        };
        self.rest().await;
        let step = recorder.finish(name, stopped);
        (self.on)(Event::Finished(&step));
        Ok(step)
    }

    /// Waits for the answer to one more request: it comes after what the gate still computes for callers that gave up, which
    /// would weigh on the next step.
    async fn rest(&self) {
        let begun = Instant::now();
        loop {
            let answer = self.caller.call(0, begun, REST).await;
            if answer.code != Code::ResourceExhausted || begun.elapsed() > REST {
                return;
            }
            tokio::time::sleep(answer.pause).await;
        }
    }

    /// Records answers until there are no more to come.
    async fn collect(
        &mut self,
        step: &str,
        begun: Instant,
        length: Duration,
        mut answers: mpsc::UnboundedReceiver<Answer>,
        recorder: &mut Recorder,
    ) -> Result<(), LoadError> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some(answer) => recorder.record(answer)?,
                    None => return Ok(()),
                },
                _ = ticks.tick() => (self.on)(Event::Running {
                    step,
                    elapsed: begun.elapsed().min(length),
                    length,
                    answered: recorder.answered(),
                }),
            }
        }
    }
}
