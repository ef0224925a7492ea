//! What awaits an item that came now, for callers who have work of their own to do before they hand it in.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::pace::Pace;

/// What the workers are at and the pace of the one that computed last, readable by everyone.
#[derive(Debug)]
pub(crate) struct Outlook {
    start: Instant,
    /// Nanoseconds that a batch may take; 0 before the first.
    batch: AtomicU64,
    /// Items of a batch at most.
    limit: AtomicUsize,
    /// For each worker, when its batch should be done, in nanoseconds since `start`; 0 where it computes none.
    done: Box<[AtomicU64]>,
}

impl Outlook {
    pub(crate) fn new(workers: usize, max_batch: usize) -> Self {
        Self {
            start: Instant::now(),
            batch: AtomicU64::new(0),
            limit: AtomicUsize::new(max_batch),
            done: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A worker begins a batch that may take as long as `expected`.
    pub(crate) fn begin(&self, worker: usize, expected: Duration) {
        let done = nanoseconds(self.start.elapsed() + expected).max(1);
        self.set_done(worker, done);
    }

    /// A worker has nothing to compute; it works at this pace.
    pub(crate) fn end(&self, worker: usize, pace: &Pace) {
        self.batch
            .store(nanoseconds(pace.expected()), Ordering::Relaxed);
        self.limit.store(pace.limit(), Ordering::Relaxed);
        self.set_done(worker, 0);
    }

    fn set_done(&self, worker: usize, nanoseconds: u64) {
        if let Some(done) = self.done.get(worker) {
            done.store(nanoseconds, Ordering::Relaxed);
        }
    }

    /// How long an item with so many `ahead` of it takes at least, as the last batches went: what is left of the batch that is done
    /// first, the whole batches before its own, divided among the workers, and its own. Nothing where a worker is free and none
    /// is ahead: were a slow batch to refuse every item before it reaches a worker, no other would ever be measured.
    pub(crate) fn wait(&self, ahead: usize) -> Duration {
        let now = nanoseconds(self.start.elapsed());
        let done = self.done.iter().map(|done| done.load(Ordering::Relaxed));
        let first = done.min().unwrap_or_default();
        if ahead == 0 && first == 0 {
            return Duration::ZERO;
        }
        let at_once = self.limit.load(Ordering::Relaxed).max(1) * self.done.len().max(1);
        let batches = u64::try_from(ahead / at_once + 1).unwrap_or(u64::MAX);
        let batches = self.batch.load(Ordering::Relaxed).saturating_mul(batches);
        Duration::from_nanos(first.saturating_sub(now).saturating_add(batches))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// With a batch of four expected to take as long as this.
    fn of_four(workers: usize, expected: Duration) -> Outlook {
        let (outlook, mut pace) = (Outlook::new(workers, 4), Pace::new(4));
        pace.observe(4, expected * 5 / 6);
        (0..workers).for_each(|worker| outlook.end(worker, &pace));
        outlook
    }

    #[test]
    fn whole_batches_ahead_count_and_the_items_own() {
        assert_eq!(Outlook::new(1, 4).wait(100), Duration::ZERO);
        let outlook = of_four(1, HOUR);
        assert_eq!(outlook.wait(0), Duration::ZERO);
        assert_eq!(outlook.wait(3), HOUR);
        assert_eq!(outlook.wait(4), 2 * HOUR);
        assert_eq!(outlook.wait(11), 3 * HOUR);
        assert_eq!(of_four(2, HOUR).wait(11), 2 * HOUR);
    }

    #[test]
    fn what_is_left_of_the_batch_that_is_done_first_counts() {
        let outlook = of_four(2, HOUR);
        outlook.begin(0, 10 * HOUR);
        assert_eq!(outlook.wait(0), Duration::ZERO, "the other is free");
        outlook.begin(1, 3 * HOUR);
        let wait = outlook.wait(0);
        assert!(wait <= 4 * HOUR && wait > HOUR * 39 / 10, "{wait:?}");
        outlook.begin(1, Duration::ZERO);
        assert_eq!(outlook.wait(0), HOUR, "it takes longer than expected");
    }
}
