//! How long a batch takes, so that none is spent on items whose callers will have left when it is done.
//!
//! Under overload the item at the head of the queue is the one that has waited longest: computing whatever has not expired yet
//! would compute, batch after batch, what expires meanwhile. So a batch has as many items as are done before the first of its
//! callers leaves, as far as the last batches tell (Clipper, Crankshaw et al. 2017, seeks such a size step by step).

use std::collections::VecDeque;
use std::time::Duration;

/// Batches that are remembered.
const RECENT: usize = 8;

/// A batch may take this much longer than expected. Where more come than can be computed, the caution costs nothing, for
/// younger ones wait; a batch that is late was computed in vain.
const CAUTION: f64 = 1.2;

/// What one batch tells at most of how much longer than expected the next may take.
const MOST_SURPRISE: f64 = 100.0;

/// One of the last batches.
#[derive(Debug)]
struct Measured {
    items: usize,
    time: Duration,
    /// Its time by what the batches before it had said; at least 1.
    surprise: f64,
}

/// The last batches of the workers.
#[derive(Debug, Default)]
pub(crate) struct Pace(VecDeque<Measured>);

impl Pace {
    /// How long a batch of so many items may take; nothing before the first.
    ///
    /// An item more never makes a batch quicker, and twice the items take at most twice the time: each batch bounds how long any
    /// other takes. The lowest bound counts, by the worst surprise that the last ones were, and some caution.
    pub(crate) fn expected(&self, items: usize) -> Duration {
        let surprises = self.0.iter().map(|measured| measured.surprise);
        self.bound(items)
            .mul_f64(CAUTION * surprises.fold(1.0, f64::max))
    }

    fn bound(&self, items: usize) -> Duration {
        let bounds = self.0.iter().map(|measured| {
            let times = items as f64 / measured.items as f64;
            measured.time.mul_f64(times.max(1.0))
        });
        bounds.min().unwrap_or_default()
    }

    /// A batch of so many, at least one, took this long.
    pub(crate) fn observe(&mut self, items: usize, time: Duration) {
        let bound = self.bound(items);
        let surprise = match bound.is_zero() {
            true => 1.0,
            false => time.div_duration_f64(bound).clamp(1.0, MOST_SURPRISE),
        };
        if self.0.len() == RECENT {
            self.forget();
        }
        self.0.push_back(Measured {
            items,
            time,
            surprise,
        });
    }

    /// Forgets the oldest: where nothing is worth computing because of one slow batch, no other would ever be measured.
    pub(crate) fn forget(&mut self) {
        self.0.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// In whole milliseconds.
    fn expected(pace: &Pace, items: usize) -> u128 {
        (pace.expected(items) + MS / 2).as_millis()
    }

    #[test]
    fn the_lowest_bound_of_the_last_batches_counts_and_a_fifth() {
        let mut pace = Pace::default();
        assert_eq!(pace.expected(7), Duration::ZERO);
        pace.observe(1, 50 * MS);
        assert_eq!([1, 4].map(|items| expected(&pace, items)), [60, 240]);
        // Four at once take no longer than one: so do three, and eight twice as long.
        pace.observe(4, 50 * MS);
        assert_eq!([3, 4, 8].map(|items| expected(&pace, items)), [60, 60, 120]);
    }

    #[test]
    fn a_surprise_counts_until_it_is_forgotten() {
        let mut pace = Pace::default();
        pace.observe(2, 20 * MS);
        pace.observe(2, 60 * MS);
        assert_eq!(expected(&pace, 2), 72);
        for _ in 0..RECENT - 1 {
            pace.observe(2, 20 * MS);
            assert_eq!(expected(&pace, 2), 72);
        }
        pace.observe(2, 20 * MS);
        assert_eq!(expected(&pace, 2), 24);
    }

    #[test]
    fn a_slow_batch_cannot_refuse_everything_for_ever() {
        let mut pace = Pace::default();
        for _ in 0..RECENT {
            pace.observe(1, 5_000 * MS);
        }
        for _ in 0..RECENT {
            assert_eq!(expected(&pace, 1), 6_000);
            pace.forget();
        }
        assert_eq!(pace.expected(1), Duration::ZERO);
    }
}
