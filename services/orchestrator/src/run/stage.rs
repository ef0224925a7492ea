//! Stages: run once, recorded with their result, skipped afterwards.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use prost_types::Duration;
use saga_proto::{
    labelstore::v1::{CompleteStageRequest, Stage},
    orchestrator::v1::{StageFinished, StageProgress, StageStarted, watch_run_response::Event},
};
use serde::{Serialize, de::DeserializeOwned};
use tracing::Instrument as _;

use super::{RunContext, RunError};

/// The stages of one run.
pub(crate) struct Stages<'a> {
    context: &'a RunContext,
    done: HashMap<String, Stage>,
    current: Mutex<String>,
}

impl<'a> Stages<'a> {
    /// With the stages that the label store has on record.
    pub(crate) fn new(context: &'a RunContext, done: Vec<Stage>) -> Self {
        let done = done
            .into_iter()
            .map(|stage| (stage.name.clone(), stage))
            .collect();
        Self {
            context,
            done,
            current: Mutex::default(),
        }
    }

    /// Whether a stage is on record.
    pub(crate) fn is_done(&self, name: &str) -> bool {
        self.done.contains_key(name)
    }

    /// The stage under way, or the last one.
    pub(crate) fn current(&self) -> String {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The recorded result, or else the result of `work`, recorded.
    pub(crate) async fn run<T, W>(&self, name: &'static str, work: W) -> Result<T, RunError>
    where
        T: Serialize + DeserializeOwned,
        W: Future<Output = Result<T, RunError>>,
    {
        name.clone_into(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner));
        let emit = |event| self.context.events.emit(event);
        if let Some(stage) = self.done.get(name) {
            let result =
                serde_json::from_str(&stage.result_json).map_err(|error| unusable(name, &error))?;
            emit(Event::StageFinished(StageFinished {
                stage: name.to_owned(),
                duration: stage.duration,
                resumed: true,
            }));
            return Ok(result);
        }
        if self.context.cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        emit(Event::StageStarted(StageStarted {
            stage: name.to_owned(),
        }));
        let started = Instant::now();
        let span = tracing::info_span!("stage", otel.name = format!("stage {name}"), stage = name);
        let result = work.instrument(span).await?;
        let duration = Duration::try_from(started.elapsed()).ok();
        record(self.context, name, &result, duration).await?;
        emit(Event::StageFinished(StageFinished {
            stage: name.to_owned(),
            duration,
            resumed: false,
        }));
        Ok(result)
    }
}

/// Puts a stage on record; the first record stays.
pub(crate) async fn record<T: Serialize>(
    context: &RunContext,
    name: &str,
    result: &T,
    duration: Option<Duration>,
) -> Result<(), RunError> {
    let result_json = serde_json::to_string(result).map_err(|error| unusable(name, &error))?;
    let stage = Stage {
        name: name.to_owned(),
        result_json,
        duration,
    };
    let request = CompleteStageRequest {
        run_id: context.run_id.clone(),
        stage: Some(stage),
    };
    context
        .services
        .runs
        .call(request, |mut runs, request| async move {
            runs.complete_stage(request).await
        })
        .await?;
    Ok(())
}

/// What a stage on record found.
pub(crate) fn recorded<T: DeserializeOwned>(stages: &[Stage], name: &str) -> Result<T, RunError> {
    let stage = stages.iter().find(|stage| stage.name == name);
    let stage =
        stage.ok_or_else(|| RunError::Data(format!("the run has no record of stage {name:?}")))?;
    serde_json::from_str(&stage.result_json).map_err(|error| unusable(name, &error))
}

/// Work beside the run's own stages: told to the watchers, not recorded.
pub(crate) async fn unrecorded<T>(
    context: &RunContext,
    name: &str,
    work: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    context.events.emit(Event::StageStarted(StageStarted {
        stage: name.to_owned(),
    }));
    let started = Instant::now();
    let result = tokio::select! {
        result = work => result?,
        () = context.cancel.cancelled() => return Err(RunError::Cancelled),
    };
    context.events.emit(Event::StageFinished(StageFinished {
        stage: name.to_owned(),
        duration: Duration::try_from(started.elapsed()).ok(),
        resumed: false,
    }));
    Ok(result)
}

pub(crate) fn unusable(stage: &str, error: &serde_json::Error) -> RunError {
    RunError::Data(format!(
        "the record of stage {stage:?} cannot be used ({error}); start the run anew under another id"
    ))
}

/// Progress of a stage with rate and time left.
#[derive(Debug)]
pub(crate) struct Progress {
    stage: &'static str,
    started: Instant,
    first: Option<u64>,
    waiting_for: String,
}

impl Progress {
    /// Starts the clock.
    pub(crate) fn new(stage: &'static str) -> Self {
        Self {
            stage,
            started: Instant::now(),
            first: None,
            waiting_for: String::new(),
        }
    }

    /// What the stage waits for from now on; empty: nothing.
    pub(crate) fn waiting_for(&mut self, what: String) {
        self.waiting_for = what;
    }

    /// `done` of `total`; the rate counts what this attempt did.
    pub(crate) fn at(&mut self, done: u64, total: u64) -> Event {
        let first = *self.first.get_or_insert(done);
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 {
            done.saturating_sub(first) as f64 / seconds
        } else {
            0.0
        };
        let left =
            std::time::Duration::try_from_secs_f64(total.saturating_sub(done) as f64 / rate).ok();
        Event::StageProgress(StageProgress {
            stage: self.stage.to_owned(),
            done,
            total,
            rate_per_second: rate,
            eta: left.and_then(|left| left.try_into().ok()),
            waiting_for: self.waiting_for.clone(),
        })
    }
}
