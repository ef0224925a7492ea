//! A model's threads with their batches, and what its failures mean for the service's readiness.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use futures::future::try_join_all;
use saga_batching::{BatchConfig, Batched, Batcher};
use saga_chassis::{Readiness, WorkMetrics};
use saga_gate::{Call, admit, submit};
use tokio::sync::oneshot;
use tonic::{Code, Status};

use crate::registry::LoadError;

/// Batches in a row that fail as a whole before the device counts as lost: one alone may be an exhausted memory.
const LOST_AFTER: u32 = 3;

/// A handle to a model's threads. Where one of them panics, or batch after batch fails as a whole, readiness goes off; it
/// comes back with the first batch that succeeds, or with the next model that is loaded.
pub struct Worker<Input, Output> {
    batcher: Batcher<Input, Output, Status>,
    condition: Arc<Condition>,
}

impl<Input, Output> Worker<Input, Output>
where
    Input: Send + 'static,
    Output: Send + 'static,
{
    /// Starts so many threads of this work and makes an instance of the model on each: `make` tells what only the loaded model
    /// knows, and how to answer each item of a batch, in order.
    ///
    /// # Errors
    /// What `make` says, or that its thread did not start or ended.
    pub async fn spawn<Make, Facts, Compute, E>(
        metrics: WorkMetrics,
        instances: usize,
        batch: BatchConfig,
        readiness: Readiness,
        make: Make,
    ) -> Result<(Self, Facts), LoadError>
    where
        Make: FnOnce() -> Result<(Facts, Compute), E> + Clone + Send + 'static,
        Facts: Send + 'static,
        Compute: FnMut(Vec<Input>) -> Vec<Result<Output, Status>>,
        E: std::error::Error + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        // The first instance tells.
        let tell = Arc::new(Mutex::new(Some(tell)));
        let condition = Arc::new(Condition {
            failures: AtomicU32::new(0),
            readiness,
        });
        let observer = Arc::clone(&condition);
        let make = move || {
            let (facts, mut compute) = make()?;
            if let Some(tell) = tell.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // The receiver waits for the outcome of this closure; it is gone only where nobody wants the model any more.
                let _ = tell.send(facts);
            }
            Ok::<_, E>(move |inputs| {
                let results = compute(inputs);
                observer.observe(&results);
                results
            })
        };
        let batcher = Batcher::spawn_pool(metrics, instances, batch, make)
            .await
            .map_err(|error| LoadError(error.to_string()))?;
        let facts = told
            .await
            .map_err(|_| LoadError("its thread ended".to_owned()))?;
        let worker = Self { batcher, condition };
        Ok((worker, facts))
    }

    /// Refuses what it would shed or answer too late if it came now, before it is decoded.
    ///
    /// # Errors
    /// As [`admit`].
    pub fn admit(&self, call: Call) -> Result<(), Status> {
        admit(&self.batcher, call)
    }

    /// Waits for the output of one item.
    ///
    /// # Errors
    /// As [`submit`].
    pub async fn submit(&self, input: Input, call: Call) -> Result<Batched<Output>, Status> {
        let answer = submit(&self.batcher, input, call).await;
        if answer.is_err() && !self.batcher.is_healthy() {
            self.condition.readiness.set_ready(false);
        }
        answer
    }

    /// The outputs of the rows of one request, in order.
    ///
    /// # Errors
    /// As [`submit`]: the first that any row meets.
    pub async fn submit_all(
        &self,
        inputs: impl IntoIterator<Item = Input>,
        call: Call,
    ) -> Result<Vec<Output>, Status> {
        let answer = async |input| Ok(self.submit(input, call).await?.output);
        try_join_all(inputs.into_iter().map(answer)).await
    }

    /// Whether its places and its queue count as the service's; those of a model that is kept for a rollback do not.
    pub fn set_in_service(&self, serves: bool) {
        self.batcher.set_in_service(serves);
    }

    /// Whether it may be expected to answer.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.batcher.is_healthy() && !self.condition.is_lost()
    }
}

struct Condition {
    /// Batches in a row that failed as a whole.
    failures: AtomicU32,
    readiness: Readiness,
}

impl Condition {
    fn observe<Output>(&self, results: &[Result<Output, Status>]) {
        let failed = |result: &Result<Output, Status>| {
            result
                .as_ref()
                .is_err_and(|status| status.code() == Code::Internal)
        };
        if results.iter().all(failed) {
            if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == LOST_AFTER {
                tracing::error!(
                    "{LOST_AFTER} batches in a row failed; not ready until one succeeds"
                );
                self.readiness.set_ready(false);
            }
        } else if self.failures.swap(0, Ordering::Relaxed) >= LOST_AFTER {
            tracing::info!("a batch succeeded again; ready");
            self.readiness.set_ready(true);
        }
    }

    fn is_lost(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= LOST_AFTER
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use saga_batching::Priority;
    use saga_chassis::{Server, ServerConfig, status::internal};

    use super::*;

    fn call() -> Call {
        Call {
            deadline: None,
            waits_for_room: true,
            priority: Priority::Normal,
            arrived: Instant::now(),
        }
    }

    /// Doubles numbers; fails on negative ones, and panics on zero.
    async fn worker() -> (Worker<i32, i32>, Readiness) {
        let server = Server::bind("test", &ServerConfig::default())
            .await
            .unwrap();
        let readiness = server.readiness();
        readiness.set_ready(true);
        let batch = BatchConfig {
            max_batch: 1,
            queue_capacity: 4,
        };
        let double = |number: i32| match number {
            0 => panic!("zero"),
            1.. => Ok(2 * number),
            _ => Err(internal("MODEL_FAILED", "the device is gone")),
        };
        let make = move || {
            let compute = move |numbers: Vec<i32>| numbers.into_iter().map(double).collect();
            Ok::<_, Status>((7, compute))
        };
        let spawned = Worker::spawn(
            server.metrics().work("double"),
            1,
            batch,
            readiness.clone(),
            make,
        )
        .await;
        let (worker, facts) = spawned.unwrap();
        assert_eq!(facts, 7);
        (worker, readiness)
    }

    #[tokio::test]
    async fn failures_that_stick_turn_readiness_off_and_a_success_turns_it_on() {
        let (worker, readiness) = worker().await;
        for _ in 1..LOST_AFTER {
            worker.submit(-1, call()).await.unwrap_err();
        }
        assert!(readiness.is_ready() && worker.is_usable());
        worker.submit(-1, call()).await.unwrap_err();
        assert!(!readiness.is_ready() && !worker.is_usable());
        assert_eq!(worker.submit(4, call()).await.unwrap().output, 8);
        assert!(readiness.is_ready() && worker.is_usable());
    }

    #[tokio::test]
    async fn a_panic_turns_readiness_off_for_good() {
        let (worker, readiness) = worker().await;
        let status = worker.submit(0, call()).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(!readiness.is_ready() && !worker.is_usable());
    }
}
