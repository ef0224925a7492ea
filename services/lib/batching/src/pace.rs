//! How long a batch takes, so that none is spent on items whose callers will have left when it is done.
//!
//! Under overload the item at the head of the queue is the one that has waited longest: computing whatever has not expired yet
//! would compute, batch after batch, what expires meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

/// Batches that are remembered.
const RECENT: usize = 8;

/// The times of a worker's last batches.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    recent: VecDeque<Duration>,
}

impl Pace {
    /// How long the next batch may take: as long as the longest of the last ones; nothing before the first.
    pub(crate) fn expected(&self) -> Duration {
        self.recent.iter().copied().max().unwrap_or_default()
    }

    /// A batch took this long.
    pub(crate) fn observe(&mut self, compute: Duration) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(compute);
    }

    /// Nothing was worth computing. Were that because of one slow batch, no other would ever be measured: the oldest is
    /// forgotten.
    pub(crate) fn doubt(&mut self) {
        self.recent.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_longest_of_the_last_eight_is_expected() {
        let mut pace = Pace::default();
        assert_eq!(pace.expected(), Duration::ZERO);
        pace.observe(90 * MS);
        for _ in 1..RECENT {
            pace.observe(20 * MS);
            assert_eq!(pace.expected(), 90 * MS);
        }
        pace.observe(30 * MS);
        assert_eq!(pace.expected(), 30 * MS);
    }

    #[test]
    fn a_slow_batch_cannot_refuse_everything_for_ever() {
        let mut pace = Pace::default();
        for _ in 0..RECENT {
            pace.observe(5_000 * MS);
        }
        for _ in 0..RECENT {
            assert_eq!(pace.expected(), 5_000 * MS);
            pace.doubt();
        }
        assert_eq!(pace.expected(), Duration::ZERO);
    }
}
