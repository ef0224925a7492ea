//! A worker that the test opens and closes.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::mpsc::{Receiver, Sender, channel};

use saga_batching::{BatchConfig, Batched, Batcher, Priority, SubmitError};
use saga_metrics::{Metrics, WorkMetrics};
use tokio::task::JoinHandle;

pub type Doubler = Batcher<u32, u32, String>;
pub type Answer = Result<Batched<u32>, SubmitError<String>>;

/// A worker that tells which batch it got and computes it only when told to.
pub struct Gated {
    pub batcher: Doubler,
    pub batches: Receiver<Vec<u32>>,
    pub release: Sender<()>,
}

impl Gated {
    pub async fn new(max_batch: usize, queue_capacity: usize) -> Self {
        let (tell, batches) = channel();
        let (release, released) = channel::<()>();
        let config = BatchConfig {
            max_batch,
            queue_capacity,
        };
        let batcher = Batcher::spawn(work("gated"), config, move || {
            Ok::<_, String>(move |batch: Vec<u32>| {
                tell.send(batch.clone()).unwrap();
                released.recv().unwrap();
                batch.into_iter().map(double).collect::<Vec<_>>()
            })
        })
        .await
        .unwrap();
        Self {
            batcher,
            batches,
            release,
        }
    }

    pub fn submit(&self, input: u32) -> JoinHandle<Answer> {
        self.submit_as(input, Priority::Normal)
    }

    pub fn submit_as(&self, input: u32, priority: Priority) -> JoinHandle<Answer> {
        let batcher = self.batcher.clone();
        tokio::spawn(async move { batcher.submit(input, priority, None).await })
    }

    /// Submits `inputs` and returns when they all wait in the queue.
    pub async fn submit_all(&self, inputs: &[u32]) -> Vec<JoinHandle<Answer>> {
        self.submit_all_as(inputs, Priority::Normal).await
    }

    pub async fn submit_all_as(
        &self,
        inputs: &[u32],
        priority: Priority,
    ) -> Vec<JoinHandle<Answer>> {
        let mut answers = Vec::new();
        for &input in inputs {
            let queued = self.batcher.stats().queued;
            answers.push(self.submit_as(input, priority));
            self.until(|batcher| batcher.stats().queued == queued + 1)
                .await;
        }
        answers
    }

    pub async fn until(&self, condition: impl Fn(&Doubler) -> bool) {
        while !condition(&self.batcher) {
            tokio::task::yield_now().await;
        }
    }

    /// Occupies the worker with item 0.
    pub async fn occupy(&self) -> JoinHandle<Answer> {
        let answer = self.submit(0);
        self.until(|batcher| batcher.stats().computing == 1).await;
        assert_eq!(self.batches.recv().unwrap(), [0]);
        answer
    }
}

pub fn work(name: &'static str) -> WorkMetrics {
    Metrics::new().work(name)
}

/// 7 fails, 13 panics.
pub fn double(input: u32) -> Result<u32, String> {
    assert!(input != 13, "thirteen");
    if input == 7 {
        Err("seven".to_owned())
    } else {
        Ok(input * 2)
    }
}
