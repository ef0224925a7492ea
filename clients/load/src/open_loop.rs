//! The open loop: requests leave at their scheduled times, whatever becomes of earlier ones.
//!
//! A caller that waits for an answer before the next request slows down with the gate, and so leaves out of its figures
//! just the requests that would have fared worst: coordinated omission. Here a thread of its own sleeps from arrival to
//! arrival (an asynchronous timer would be up to a millisecond late) and hands each request to the runtime.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::mpsc::UnboundedSender, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::call::{Answer, Caller};

/// How long a stop may go unnoticed.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// Sends a request at each of `arrivals` after `begun`, and its answer to `answers`. Ends with the last request sent; tells
/// when it was stopped, if it was.
pub(crate) fn start(
    caller: Arc<Caller>,
    arrivals: Vec<Duration>,
    begun: Instant,
    deadline: Duration,
    stop: CancellationToken,
    answers: UnboundedSender<Answer>,
) -> JoinHandle<Option<Instant>> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        for (sequence, arrival) in (0..).zip(arrivals) {
            let due = begun + arrival;
            if !sleep_until(due, &stop) {
                return Some(Instant::now());
            }
            let (caller, answers) = (Arc::clone(&caller), answers.clone());
            runtime.spawn(async move {
                // The other end is gone only where the whole load is.
                let _ = answers.send(caller.call(sequence, due, deadline).await);
            });
        }
        None
    })
}

/// False: stopped before.
fn sleep_until(due: Instant, stop: &CancellationToken) -> bool {
    while !stop.is_cancelled() {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(STOP_CHECK));
    }
    false
}
