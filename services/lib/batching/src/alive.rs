//! The worker threads of this process, so that its end can wait for theirs: libraries such as libtorch free what a thread
//! that still computes needs.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

static ALIVE: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// A worker thread that has not ended.
pub(crate) struct Alive(());

impl Alive {
    pub(crate) fn new() -> Self {
        *ALIVE.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        *ALIVE.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ALIVE.1.notify_all();
    }
}

/// Blocks until every worker thread of this process has ended, `limit` at most; for the end of `main`, after services have
/// stopped. Answers whether they all have.
pub fn wait_for_workers(limit: Duration) -> bool {
    let alive = ALIVE.0.lock().unwrap_or_else(PoisonError::into_inner);
    let (alive, _) = ALIVE
        .1
        .wait_timeout_while(alive, limit, |alive| *alive > 0)
        .unwrap_or_else(PoisonError::into_inner);
    *alive == 0
}
