//! The threads that edit and render, apart from those that serve, so that a busy generator still answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::error::GenerateError;

/// A fixed number of threads. Clones share them.
#[derive(Clone)]
pub struct Pool {
    threads: Arc<rayon::ThreadPool>,
}

impl Pool {
    /// A pool of `workers` threads; 0: one for each core.
    ///
    /// # Errors
    /// Where the operating system gives no threads.
    pub fn new(workers: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(workers);
        let threads = builder
            .thread_name(|index| format!("generator-{index}"))
            .build()?;
        Ok(Self {
            threads: Arc::new(threads),
        })
    }

    /// Threads of the pool.
    pub fn workers(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Does `work` on a thread of the pool, in the caller's span. Work whose caller has gone before it began is dropped.
    ///
    /// # Errors
    /// What `work` answers; [`GenerateError::Internal`] where it panics, which harms this piece of work alone.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, GenerateError> + Send + 'static,
    ) -> Result<T, GenerateError> {
        let (answer, answered) = oneshot::channel();
        let span = tracing::Span::current();
        self.threads.spawn_fifo(move || {
            if answer.is_closed() {
                return;
            }
            let outcome = span.in_scope(|| catch_unwind(AssertUnwindSafe(work)));
            // A caller that left meanwhile needs no answer.
            drop(answer.send(
                outcome.unwrap_or_else(|_| Err(GenerateError::Internal("it panicked".to_owned()))),
            ));
        });
        answered
            .await
            .unwrap_or_else(|_| Err(GenerateError::Internal("its thread stopped".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_panic_harms_only_its_own_work() {
        let pool = Pool::new(1).unwrap();
        assert_eq!(
            pool.run::<()>(|| panic!("broken")).await,
            Err(GenerateError::Internal("it panicked".to_owned()))
        );
        assert_eq!(pool.run(|| Ok(7)).await, Ok(7));
    }

    #[tokio::test]
    async fn work_of_a_caller_that_left_is_not_begun() {
        let pool = Pool::new(1).unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let (begun, log) = mpsc::channel();
        let blocker = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move || Ok(gate.recv().is_ok())).await }
        });
        tokio::task::yield_now().await;
        let mut left = Box::pin(pool.run(move || Ok(begun.send(()).is_ok())));
        assert!(futures::poll!(&mut left).is_pending());
        drop(left);
        open.send(()).unwrap();
        blocker.await.unwrap().unwrap();
        pool.run(|| Ok(())).await.unwrap();
        assert!(log.try_recv().is_err());
    }
}
