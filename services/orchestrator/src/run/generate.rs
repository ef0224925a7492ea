//! The generate stage: leases slots, keeps a bounded number of attempts in flight, and stops when the plan is finished, when
//! nothing more is accepted, or when everything fails.
//!
//! What is admitted depends on what was admitted before (duplicates, caps, the bandit's tallies). So that the same seed gives
//! the same images, attempts end in the order of their leases, one by one, and slots are leased between two ends, always after as
//! many. Where a backend gives another answer each time anyway, nobody waits: attempts end as they are ready.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use saga_proto::{
    labelstore::v1::{
        GetFunnelRequest, GetFunnelResponse, LeaseSlotsRequest, ReleaseLeasesRequest, Slot,
    },
    orchestrator::v1::watch_run_response::Event,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, task::JoinSet, time::MissedTickBehavior};
use tracing::Instrument as _;

use super::{
    RunContext, RunError,
    attempt::Attempts,
    dataset,
    ended::Ended,
    images::Images,
    models::{InUse, backends},
    pauses::Pauses,
    stage::Progress,
    tallies::Tallies,
};

/// Time between two reports to the watchers.
const REPORT: Duration = Duration::from_millis(500);
/// Time between two looks at slots that only others hold.
const POLL: Duration = Duration::from_millis(500);
/// Attempts in a row that may end in errors beside those in flight.
const ERRORS_IN_A_ROW: u32 = 8;

/// How generation ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GenerateRecord {
    stopped: Stopped,
    admitted: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stopped {
    /// Every slot is filled or out of tries.
    PlanFinished,
    /// Nothing was admitted for too long.
    NothingAccepted,
    /// The run's money is spent.
    BudgetSpent,
}

/// Works off the plan.
pub(super) async fn generate(
    context: &Arc<RunContext>,
    models: InUse,
) -> Result<GenerateRecord, RunError> {
    models.load(context).await?;
    context.guard.describe().await?;
    let attempts = Attempts {
        context: context.clone(),
        images: Images::new(
            context.services.datasets.clone(),
            context.config.run.image_cache_bytes,
        ),
        train: dataset::train_ids(context).await?,
        backends: backends(context).await?,
        tallies: Tallies::default(),
        models,
        pauses: Pauses::default(),
    };
    // A holder that starts again has nothing under way.
    release(context).await?;
    let mut flight = Flight::new(context, attempts);
    let outcome = flight.work().await;
    flight.tasks.shutdown().await;
    release(context).await?;
    let stopped = outcome?;
    let funnel = report(context, &mut flight.progress).await?;
    Ok(GenerateRecord {
        stopped,
        admitted: funnel.accepted,
    })
}

/// Attempts in flight and how the latest ones ended.
struct Flight {
    context: Arc<RunContext>,
    attempts: Arc<Attempts>,
    tasks: JoinSet<Result<Ended, RunError>>,
    /// Whether attempts end one by one, in the order of leases.
    in_order: bool,
    /// Those that wait to end, in that order.
    turns: VecDeque<oneshot::Sender<()>>,
    /// Whether one that waited is ending.
    is_ending: bool,
    progress: Progress,
    without_admission: u32,
    errors_in_a_row: u32,
    budget_spent: bool,
}

impl Flight {
    fn new(context: &Arc<RunContext>, attempts: Attempts) -> Self {
        Self {
            context: context.clone(),
            in_order: attempts.backends.iter().all(|it| it.deterministic),
            attempts: Arc::new(attempts),
            tasks: JoinSet::new(),
            turns: VecDeque::new(),
            is_ending: false,
            progress: Progress::new("generate"),
            without_admission: 0,
            errors_in_a_row: 0,
            budget_spent: false,
        }
    }

    /// Leases and works until there is a reason to stop, then lets what is in flight settle.
    async fn work(&mut self) -> Result<Stopped, RunError> {
        let mut reports = tokio::time::interval(REPORT);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reason = None;
        loop {
            if reason.is_none() {
                reason = self.reason_to_stop();
            }
            let open = if reason.is_none() {
                self.lease().await?
            } else {
                0
            };
            if self.tasks.is_empty() {
                match reason.take() {
                    Some(reason) => return reason,
                    None if open == 0 => return Ok(Stopped::PlanFinished),
                    None => {}
                }
            }
            self.give_turn();
            tokio::select! {
                Some(ended) = self.tasks.join_next() => {
                    self.is_ending = false;
                    self.count(ended.map_err(|error| RunError::Data(error.to_string()))??)?;
                }
                _ = reports.tick() => {
                    self.progress.waiting_for(self.waiting_for());
                    report(&self.context, &mut self.progress).await?;
                }
                () = self.context.cancel.cancelled(), if reason.is_none() => {}
                () = tokio::time::sleep(POLL), if self.tasks.is_empty() => {}
            }
        }
    }

    /// What the resting backends said, where nothing else is under way.
    fn waiting_for(&self) -> String {
        if !self.tasks.is_empty() {
            return String::new();
        }
        let why = self
            .attempts
            .pauses
            .now()
            .into_values()
            .map(|pause| pause.why);
        why.collect::<Vec<_>>().join("; ")
    }

    fn reason_to_stop(&self) -> Option<Result<Stopped, RunError>> {
        if self.context.cancel.is_cancelled() {
            return Some(Err(RunError::Cancelled));
        }
        if self.budget_spent {
            return Some(Ok(Stopped::BudgetSpent));
        }
        let drought = self.without_admission >= self.context.recipe.plan.stop_after_rejections;
        drought.then_some(Ok(Stopped::NothingAccepted))
    }

    /// Takes slots for the free places and starts their attempts; answers how many slots are open.
    async fn lease(&mut self) -> Result<u32, RunError> {
        let paused = self.attempts.pauses.now();
        if paused.len() == self.attempts.backends.len() {
            return Ok(1);
        }
        let in_flight = self.context.recipe.plan.in_flight;
        let free = in_flight.saturating_sub(self.tasks.len() as u32);
        if free == 0 || (!self.tasks.is_empty() && free < in_flight / 4) {
            return Ok(1);
        }
        let request = LeaseSlotsRequest {
            run_id: self.context.run_id.clone(),
            holder: self.context.config.run.holder.clone(),
            limit: free,
            ttl: self.context.config.run.lease().try_into().ok(),
            paused_backends: paused.into_keys().collect(),
        };
        let runs = &self.context.services.runs;
        let leased = runs
            .call(request, |mut runs, request| async move {
                runs.lease_slots(request).await
            })
            .await?;
        leased.slots.into_iter().for_each(|slot| self.start(slot));
        Ok(leased.open)
    }

    fn start(&mut self, slot: Slot) {
        let turn = self.in_order.then(|| {
            let (give, turn) = oneshot::channel();
            self.turns.push_back(give);
            turn
        });
        self.tasks
            .spawn(self.attempts.clone().run(slot, turn).in_current_span());
    }

    /// Lets the next attempt end once the one before has.
    fn give_turn(&mut self) {
        if !self.is_ending
            && let Some(turn) = self.turns.pop_front()
        {
            // An attempt that failed before its turn is about to be joined.
            self.is_ending = turn.send(()).is_ok();
        }
    }

    /// Learns from the end of an attempt.
    fn count(&mut self, ended: Ended) -> Result<(), RunError> {
        let error = match ended {
            Ended::Settled { admitted: true, .. } => {
                self.without_admission = 0;
                None
            }
            Ended::Settled { error, .. } => {
                self.without_admission += 1;
                error
            }
            Ended::Lost(why) => Some(why),
            Ended::Later(later) => {
                tracing::debug!(run_id = self.context.run_id, ?later, "put off");
                return Ok(());
            }
            Ended::BudgetSpent(why) => {
                tracing::info!(run_id = self.context.run_id, why, "no money left");
                self.budget_spent = true;
                return Ok(());
            }
        };
        let Some(last) = error else {
            self.errors_in_a_row = 0;
            return Ok(());
        };
        tracing::warn!(run_id = self.context.run_id, error = last, "attempt failed");
        self.errors_in_a_row += 1;
        if self.errors_in_a_row > ERRORS_IN_A_ROW + self.context.recipe.plan.in_flight {
            return Err(RunError::Failing {
                count: self.errors_in_a_row,
                last,
            });
        }
        Ok(())
    }
}

/// Gives back what this holder has leased.
async fn release(context: &RunContext) -> Result<(), RunError> {
    let request = ReleaseLeasesRequest {
        run_id: context.run_id.clone(),
        holder: context.config.run.holder.clone(),
    };
    context
        .services
        .runs
        .call(request, |mut runs, request| async move {
            runs.release_leases(request).await
        })
        .await?;
    Ok(())
}

/// Tells the watchers funnel and progress.
async fn report(
    context: &RunContext,
    progress: &mut Progress,
) -> Result<GetFunnelResponse, RunError> {
    let funnel = funnel(context).await?;
    let settled = funnel
        .targets
        .iter()
        .map(|target| u64::from(target.accepted + target.exhausted))
        .sum();
    let planned = funnel
        .targets
        .iter()
        .map(|target| u64::from(target.planned))
        .sum();
    context.events.emit(progress.at(settled, planned));
    context.events.emit(Event::Funnel(funnel.clone()));
    Ok(funnel)
}

/// Counts of slots and candidates.
pub(super) async fn funnel(context: &RunContext) -> Result<GetFunnelResponse, RunError> {
    let request = GetFunnelRequest {
        run_id: context.run_id.clone(),
    };
    Ok(context
        .services
        .runs
        .call(request, |mut runs, request| async move {
            runs.get_funnel(request).await
        })
        .await?)
}
