//! Bounded retries of calls that found no server (UNAVAILABLE), lost it before it answered, or found no room (RESOURCE_EXHAUSTED).
//! A quota that is used up (RESOURCE_EXHAUSTED with a reason) is no matter of retries: it may take hours.

use std::{error::Error as _, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::config::RetryPolicy;

impl RetryPolicy {
    /// Calls until it works, fails for another reason, or the tries are used up; answers the last outcome.
    pub async fn run<T, F, Fut>(&self, mut call: F) -> Result<T, Status>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let mut tries = 1;
        loop {
            match call().await {
                Err(status) if tries < self.attempts && is_transient(&status) => {
                    tokio::time::sleep(self.pause(tries, &status)).await;
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Doubles from the first pause to the longest. RetryInfo wins where it is longer, up to the longest.
    fn pause(&self, tries: u32, status: &Status) -> Duration {
        let own = self
            .initial_milliseconds
            .saturating_mul(1 << (tries - 1).min(20));
        let asked = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
            .unwrap_or_default();
        Duration::from_millis(own)
            .max(asked)
            .min(Duration::from_millis(self.longest_milliseconds))
    }
}

/// Whether the same call may work a little later.
fn is_transient(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // Of a connection that broke; an answer has no source.
        Code::Unknown => status.source().is_some(),
        Code::ResourceExhausted => saga_chassis::status::reason(status).is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use saga_chassis::status::{quota_exhausted, resource_exhausted};
    use tokio::time::Instant;

    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 4,
        initial_milliseconds: 100,
        longest_milliseconds: 1_000,
    };

    async fn failing_with(status: Status) -> (u32, Duration) {
        let (calls, started) = (Cell::new(0), Instant::now());
        let outcome: Result<(), Status> = POLICY
            .run(|| {
                calls.set(calls.get() + 1);
                std::future::ready(Err(status.clone()))
            })
            .await;
        assert_eq!(outcome.unwrap_err().code(), status.code());
        (calls.get(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_absent_server_is_tried_with_doubling_pauses_and_then_given_up() {
        let (calls, time) = failing_with(Status::unavailable("down")).await;
        assert_eq!((calls, time.as_millis() / 10), (4, 70));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_that_a_full_server_asks_for_is_kept_up_to_the_longest() {
        let (_, time) = failing_with(resource_exhausted("full", Duration::from_millis(500))).await;
        assert_eq!(time.as_millis() / 10, 150);
        let (_, time) = failing_with(resource_exhausted("full", Duration::from_secs(3_600))).await;
        assert_eq!(time.as_millis() / 10, 300);
    }

    #[tokio::test(start_paused = true)]
    async fn other_errors_are_not_tried_again() {
        assert_eq!(failing_with(Status::invalid_argument("bad")).await.0, 1);
        assert_eq!(failing_with(Status::unknown("a bug")).await.0, 1);
        let quota = quota_exhausted("QUOTA_EXHAUSTED", "no", Duration::from_millis(1));
        assert_eq!(failing_with(quota).await.0, 1);
    }
}
