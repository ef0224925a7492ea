//! What awaits an item that came now, for callers who have work of their own to do before they hand it in.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::pace::Pace;

/// The pace of the worker that computed last, readable by everyone.
#[derive(Debug)]
pub(crate) struct Outlook {
    /// Nanoseconds that a batch may take; 0 before the first.
    batch: AtomicU64,
    /// Items of a batch at most.
    limit: AtomicUsize,
}

impl Outlook {
    pub(crate) fn new(max_batch: usize) -> Self {
        Self {
            batch: AtomicU64::new(0),
            limit: AtomicUsize::new(max_batch),
        }
    }

    pub(crate) fn tell(&self, pace: &Pace) {
        let nanoseconds = u64::try_from(pace.expected().as_nanos()).unwrap_or(u64::MAX);
        self.batch.store(nanoseconds, Ordering::Relaxed);
        self.limit.store(pace.limit(), Ordering::Relaxed);
    }

    /// How long an item with so many `ahead` of it takes at least, as the last batches went: the whole batches before its own,
    /// divided among the workers, and its own. What they are computing now does not count, and nothing counts where none is
    /// ahead: were a slow batch to refuse every item before it reaches a worker, no other would ever be measured.
    pub(crate) fn wait(&self, ahead: usize, workers: usize) -> Duration {
        if ahead == 0 {
            return Duration::ZERO;
        }
        let at_once = self.limit.load(Ordering::Relaxed).max(1) * workers.max(1);
        let batches = u64::try_from(ahead / at_once + 1).unwrap_or(u64::MAX);
        Duration::from_nanos(self.batch.load(Ordering::Relaxed).saturating_mul(batches))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn whole_batches_ahead_count_and_the_items_own() {
        let outlook = Outlook::new(4);
        assert_eq!(outlook.wait(100, 1), Duration::ZERO);
        let mut pace = Pace::new(4);
        pace.observe(4, 50 * MS);
        outlook.tell(&pace);
        assert_eq!(outlook.wait(0, 1), Duration::ZERO);
        assert_eq!(outlook.wait(3, 1), 50 * MS);
        assert_eq!(outlook.wait(4, 1), 100 * MS);
        assert_eq!(outlook.wait(11, 1), 150 * MS);
        assert_eq!(outlook.wait(11, 2), 100 * MS);
    }
}
