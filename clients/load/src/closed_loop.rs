//! The closed loop: a number of callers, each of which waits for its answer before the next request. It finds how much a
//! gate can do; how soon it answers at a given rate is the open loop's to tell.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::call::{Answer, Caller};

/// How long a caller waits for one answer. The deadline of the open loop does not apply: with many callers an answer may
/// well take longer, and the gate would be measured dropping work instead of doing it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts `concurrency` callers that send until `until` or `stop`; `answers` closes when the last of them has its answer.
pub(crate) fn start(
    caller: &Arc<Caller>,
    concurrency: usize,
    until: Instant,
    stop: &CancellationToken,
    answers: &UnboundedSender<Answer>,
) {
    let next = Arc::new(AtomicU64::new(0));
    for _ in 0..concurrency {
        let (caller, next, answers) = (Arc::clone(caller), Arc::clone(&next), answers.clone());
        let callers = async move {
            while Instant::now() < until {
                let sequence = next.fetch_add(1, Ordering::Relaxed);
                let answer = caller.call(sequence, Instant::now(), PATIENCE).await;
                let pause = answer.pause;
                if answers.send(answer).is_err() {
                    break;
                }
                // A caller that was shed comes back when the gate asked it to; at once, it would only add to the crowd.
                tokio::time::sleep(pause).await;
            }
        };
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(callers).await });
    }
}
