//! The callers' side: starting the workers and submitting items.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use saga_metrics::WorkMetrics;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::alive::Alive;
use crate::answer::{Batched, SpawnError, SubmitError};
use crate::entry::Entry;
use crate::levels::Priority;
use crate::queue::Room;
use crate::stats::Stats;
use crate::worker::{Shared, run};

/// Sizes of the queue and of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchConfig {
    /// The most items a worker gets at once; 0 counts as 1.
    pub max_batch: usize,
    /// The most items that wait; 0 counts as 1.
    pub queue_capacity: usize,
}

/// Threads of a pool: as many as were chosen, or where that is 0 one for each core.
#[must_use]
pub fn threads(chosen: usize) -> usize {
    match chosen {
        0 => thread::available_parallelism().map_or(1, usize::from),
        chosen => chosen,
    }
}

/// A handle to the queue; clones share it. The workers end when the last handle is dropped and the queue is empty.
pub struct Batcher<Input, Output, E>(Arc<Handle<Input, Output, E>>);

/// What the handles share among themselves, but not with the workers: its end is the workers' end.
struct Handle<Input, Output, E>(Arc<Shared<Input, Output, E>>);

impl<Input, Output, E> Drop for Handle<Input, Output, E> {
    fn drop(&mut self) {
        self.0.queue.close();
        self.0.set_in_service(false);
    }
}

impl<Input, Output, E> Clone for Batcher<Input, Output, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Input, Output, E> fmt::Debug for Batcher<Input, Output, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Batcher")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl<Input, Output, E> Batcher<Input, Output, E>
where
    Input: Send + 'static,
    Output: Send + 'static,
    E: Send + 'static,
{
    /// Starts one worker thread, called as the work that `metrics` belong to. `make_worker` runs on it, and the worker it
    /// makes never leaves it; the worker answers a batch with one result for each input, in order.
    ///
    /// # Errors
    /// [`SpawnError`], where no thread is to be had or `make_worker` fails or panics.
    pub async fn spawn<Make, Worker, M>(
        metrics: WorkMetrics,
        config: BatchConfig,
        make_worker: Make,
    ) -> Result<Self, SpawnError<M>>
    where
        Make: FnOnce() -> Result<Worker, M> + Send + 'static,
        Worker: FnMut(Vec<Input>) -> Vec<Result<Output, E>>,
        M: Send + 'static,
    {
        Self::start(metrics, config, vec![make_worker]).await
    }

    /// Starts `workers` threads (0 counts as 1) that take from one queue, for work on the processor.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn); workers that did start end again.
    pub async fn spawn_pool<Make, Worker, M>(
        metrics: WorkMetrics,
        workers: usize,
        config: BatchConfig,
        make_worker: Make,
    ) -> Result<Self, SpawnError<M>>
    where
        Make: FnOnce() -> Result<Worker, M> + Clone + Send + 'static,
        Worker: FnMut(Vec<Input>) -> Vec<Result<Output, E>>,
        M: Send + 'static,
    {
        Self::start(metrics, config, vec![make_worker; workers.max(1)]).await
    }

    async fn start<Make, Worker, M>(
        metrics: WorkMetrics,
        config: BatchConfig,
        makers: Vec<Make>,
    ) -> Result<Self, SpawnError<M>>
    where
        Make: FnOnce() -> Result<Worker, M> + Send + 'static,
        Worker: FnMut(Vec<Input>) -> Vec<Result<Output, E>>,
        M: Send + 'static,
    {
        let (name, max_batch) = (metrics.work(), config.max_batch.max(1));
        let capacity = config.queue_capacity.max(1);
        let shared = Shared::new(capacity, makers.len(), max_batch, metrics);
        let batcher = Self(Arc::new(Handle(Arc::new(shared))));
        let mut started = Vec::with_capacity(makers.len());
        for (number, make) in makers.into_iter().enumerate() {
            let (tell, told) = oneshot::channel();
            let shared = Arc::clone(&batcher.0.0);
            let alive = Alive::new();
            let body = move || {
                run(number, make, tell, &shared, max_batch);
                // What the worker owned is gone by now.
                drop(alive);
            };
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(body)
                .map_err(|source| SpawnError::Thread {
                    name: name.to_owned(),
                    source,
                })?;
            started.push(told);
        }
        for told in started {
            let panicked = |reason: String| SpawnError::Panicked {
                name: name.to_owned(),
                reason,
            };
            match told.await {
                Ok(Ok(made)) => made.map_err(SpawnError::Make)?,
                Ok(Err(reason)) => return Err(panicked(reason)),
                Err(_) => return Err(panicked("its thread ended".to_owned())),
            }
        }
        Ok(batcher)
    }

    /// Waits for room, first come, first served, and for the answer. Dropping the future withdraws the item, unless it is being computed.
    ///
    /// # Errors
    /// [`SubmitError`], never [`SubmitError::Full`].
    pub async fn submit(
        &self,
        input: Input,
        priority: Priority,
        deadline: Option<Instant>,
    ) -> Result<Batched<Output>, SubmitError<E>> {
        let shared = &self.0.0;
        let submitted = Instant::now();
        let room = match deadline {
            None => shared.queue.room(priority).await,
            Some(at) => match timeout_at(at.into(), shared.queue.room(priority)).await {
                Ok(room) => room,
                Err(_) => {
                    shared.metrics.expired.inc();
                    return Err(SubmitError::DeadlineExceeded);
                }
            },
        };
        let Some(room) = room else {
            return Err(shared.unhealthy());
        };
        self.enter(input, priority, deadline, submitted, room).await
    }

    /// Sheds the item where the queue has no room for its priority; else waits for the answer as [`submit`](Self::submit) does.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn try_submit(
        &self,
        input: Input,
        priority: Priority,
        deadline: Option<Instant>,
    ) -> Result<Batched<Output>, SubmitError<E>> {
        let room = self.0.0.try_room(priority)?;
        self.enter(input, priority, deadline, Instant::now(), room)
            .await
    }

    /// Whether an item that came now would be taken and be answered in time, as far as can be told: for callers with work to do before
    /// they have the item, which would be in vain. One who `waits_for_room` is not refused for lack of it. What passes may still be
    /// refused when it is submitted.
    ///
    /// # Errors
    /// [`SubmitError::Full`], [`SubmitError::DeadlineExceeded`], [`SubmitError::Unhealthy`].
    pub fn admit(
        &self,
        priority: Priority,
        deadline: Option<Instant>,
        waits_for_room: bool,
    ) -> Result<(), SubmitError<E>> {
        let shared = &self.0.0;
        if !waits_for_room {
            shared.try_room(priority)?;
        }
        let wait = shared.outlook.wait(shared.queue.ahead(priority));
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        if deadline.is_some_and(|deadline| left(deadline) <= wait) {
            shared.metrics.expired.inc();
            return Err(SubmitError::DeadlineExceeded);
        }
        Ok(())
    }

    async fn enter(
        &self,
        input: Input,
        priority: Priority,
        deadline: Option<Instant>,
        submitted: Instant,
        room: Room,
    ) -> Result<Batched<Output>, SubmitError<E>> {
        let shared = &self.0.0;
        let (answer, answered) = oneshot::channel();
        shared.metrics.queue_length.inc();
        if !shared.queue.push(
            Entry {
                input,
                deadline,
                submitted,
                answer,
            },
            priority,
            room,
        ) {
            shared.metrics.queue_length.dec();
            return Err(shared.unhealthy());
        }
        // An answer that was dropped means that its worker ended.
        answered.await.unwrap_or_else(|_| Err(shared.unhealthy()))
    }
}

impl<Input, Output, E> Batcher<Input, Output, E> {
    /// Whether its queue and its workers' places count in the metrics, as they do from the start. They should not while a model is
    /// kept that nobody asks: saturation would look lower than it is.
    pub fn set_in_service(&self, serves: bool) {
        self.0.0.set_in_service(serves);
    }

    /// Whether workers take items. Once false, it stays false.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.0.0.queue.is_closed()
    }

    /// The instruments of this work.
    #[must_use]
    pub fn metrics(&self) -> &WorkMetrics {
        &self.0.0.metrics
    }

    /// The counters and gauges now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::read(&self.0.0.metrics, self.0.0.queue.len())
    }
}
