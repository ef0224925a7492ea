//! The worker's side: taking a batch, computing it, answering every item.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use saga_metrics::WorkMetrics;
use tokio::sync::oneshot;

use crate::answer::{Batched, SubmitError};
use crate::entry::{Answer, Entry};
use crate::intake::Intake;
use crate::levels::Priority;
use crate::outlook::Outlook;
use crate::queue::{NoRoom, Queue, Room};

/// What handles and workers share.
pub(crate) struct Shared<Input, Output, E> {
    pub(crate) queue: Queue<Entry<Input, Output, E>>,
    pub(crate) metrics: WorkMetrics,
    pub(crate) outlook: Outlook,
    /// Items that all workers together compute at most.
    pub(crate) places: usize,
    broken: OnceLock<String>,
    /// Whether capacity and places count in the metrics.
    in_service: AtomicBool,
}

impl<Input, Output, E> Shared<Input, Output, E> {
    pub(crate) fn new(
        capacity: usize,
        workers: usize,
        max_batch: usize,
        metrics: WorkMetrics,
    ) -> Self {
        let places = workers * max_batch;
        metrics.open(capacity, places);
        Self {
            queue: Queue::new(capacity),
            metrics,
            outlook: Outlook::new(workers, max_batch),
            places,
            broken: OnceLock::new(),
            in_service: AtomicBool::new(true),
        }
    }

    pub(crate) fn set_in_service(&self, serves: bool) {
        if self.in_service.swap(serves, Ordering::Relaxed) == serves {
            return;
        }
        let (capacity, places) = (self.queue.capacity(), self.places);
        match serves {
            true => self.metrics.open(capacity, places),
            false => self.metrics.close(capacity, places),
        }
    }

    /// Room for one item now, or what its caller is told. What waits for callers that have left takes nobody's room.
    pub(crate) fn try_room(&self, priority: Priority) -> Result<Room, SubmitError<E>> {
        let mut room = self.queue.try_room(priority);
        if matches!(room, Err(NoRoom::Full { .. })) && self.drop_abandoned() {
            room = self.queue.try_room(priority);
        }
        room.map_err(|none| match none {
            NoRoom::Closed => self.unhealthy(),
            NoRoom::Full { capacity } => {
                self.metrics.full.inc();
                SubmitError::Full { capacity }
            }
        })
    }

    /// Whether anybody who waited has left.
    fn drop_abandoned(&self) -> bool {
        let abandoned = self.queue.retain(|entry| !entry.answer.is_closed());
        self.metrics.queue_length.dec_by(abandoned as i64);
        self.metrics.abandoned.inc_by(abandoned as u64);
        abandoned > 0
    }

    /// The answer of a batcher that takes no items any more.
    pub(crate) fn unhealthy(&self) -> SubmitError<E> {
        let reason = self
            .broken
            .get()
            .cloned()
            .unwrap_or_else(|| "its thread ended".to_owned());
        SubmitError::Unhealthy { reason }
    }
}

/// Ok: made or failed; Err: panicked, with the message.
type Made<M> = Result<Result<(), M>, String>;

/// The body of a worker thread, the `number`th from 0: makes the worker, reports that, and serves the queue until it closes.
pub(crate) fn run<Input, Output, E, Make, Worker, M>(
    number: usize,
    make: Make,
    tell: oneshot::Sender<Made<M>>,
    shared: &Shared<Input, Output, E>,
    max_batch: usize,
) where
    Make: FnOnce() -> Result<Worker, M>,
    Worker: FnMut(Vec<Input>) -> Vec<Result<Output, E>>,
{
    let mut worker = match catch_unwind(AssertUnwindSafe(make)) {
        Ok(Ok(worker)) => worker,
        Ok(Err(error)) => return drop(tell.send(Ok(Err(error)))),
        Err(panic) => return drop(tell.send(Err(panic_text(panic.as_ref())))),
    };
    if tell.send(Ok(Ok(()))).is_err() {
        return;
    }
    loop {
        let mut intake = Intake::new(&shared.outlook, &shared.metrics, max_batch);
        let Some(batch) = shared.queue.take(|entry| intake.judge(entry)) else {
            return;
        };
        let items = batch.len();
        if items > 0 {
            shared.outlook.begin(number, items);
            match compute(batch, &mut worker, shared) {
                Ok(time) => shared.outlook.end(number, items, time),
                Err((reason, unanswered)) => {
                    tracing::error!(reason, "worker out of service");
                    return give_up(shared, reason, unanswered);
                }
            }
        } else if intake.would_be_late() {
            shared.outlook.doubt();
        }
    }
}

/// Computes and answers one batch, and tells how long it took. Err: the worker panicked or miscounted; nobody was answered.
fn compute<Input, Output, E>(
    batch: Vec<Entry<Input, Output, E>>,
    worker: &mut impl FnMut(Vec<Input>) -> Vec<Result<Output, E>>,
    shared: &Shared<Input, Output, E>,
) -> Result<Duration, (String, Vec<Answer<Output, E>>)> {
    let (metrics, batch_size, started) = (&shared.metrics, batch.len(), Instant::now());
    let queue_times: Vec<_> = batch
        .iter()
        .map(|entry| started - entry.submitted)
        .collect();
    let (inputs, answers): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|entry| (entry.input, entry.answer))
        .unzip();
    metrics.begin(batch_size);
    let results = catch_unwind(AssertUnwindSafe(|| worker(inputs)));
    let compute = started.elapsed();
    metrics.end(batch_size);
    let results = match results {
        Ok(results) if results.len() == batch_size => results,
        Ok(results) => {
            return Err((
                format!("it answered {} of {batch_size} items", results.len()),
                answers,
            ));
        }
        Err(panic) => {
            return Err((
                format!("it panicked: {}", panic_text(panic.as_ref())),
                answers,
            ));
        }
    };
    let failed = results.iter().filter(|result| result.is_err()).count();
    metrics.batch_size.observe_size(batch_size);
    metrics.computed.inc_by(batch_size as u64);
    metrics.failed.inc_by(failed as u64);
    for &queue in &queue_times {
        metrics.queue_seconds.observe(queue);
        metrics.compute_seconds.observe(compute);
    }
    for ((answer, queue), result) in answers.into_iter().zip(queue_times).zip(results) {
        let batched = result.map(|output| Batched {
            output,
            queue,
            compute,
            batch_size,
        });
        // A caller who left meanwhile wants no answer.
        let _ = answer.send(batched.map_err(SubmitError::Item));
    }
    Ok(compute)
}

/// Closes the queue, then answers the failed batch and all that wait: who is told of the failure finds health off.
fn give_up<Input, Output, E>(
    shared: &Shared<Input, Output, E>,
    reason: String,
    unanswered: Vec<Answer<Output, E>>,
) {
    let _ = shared.broken.set(reason);
    shared.queue.close();
    let refuse = |answer: Answer<Output, E>| drop(answer.send(Err(shared.unhealthy())));
    unanswered.into_iter().for_each(refuse);
    let unqueued = |entry| {
        shared.metrics.queue_length.dec();
        ControlFlow::Continue(Some(entry))
    };
    while let Some(waiting) = shared.queue.take(unqueued) {
        waiting
            .into_iter()
            .map(|entry| entry.answer)
            .for_each(refuse);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no reason given").to_owned()
}
