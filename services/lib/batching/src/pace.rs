//! How long a batch takes, so that none is spent on items whose callers will have left when it is done.
//!
//! Under overload the item at the head of the queue is the one that has waited longest: computing whatever has not expired yet
//! would compute, batch after batch, what expires meanwhile. And where whole batches take longer than callers wait, on a starved
//! machine, smaller ones are tried: halved when nothing could be in time, one larger after each eight that filled up (as
//! Clipper does, Crankshaw et al. 2017).

use std::collections::VecDeque;
use std::time::Duration;

/// Batches that are remembered.
const RECENT: usize = 8;

/// A batch may take longer than the longest of the last ones by this part of it. Where more come than can be computed, the
/// caution costs nothing, for younger ones wait; a batch that is late was computed in vain.
const SLACK: u32 = 5;

/// The sizes and times of a worker's last batches, and how many items the next may have.
#[derive(Debug)]
pub(crate) struct Pace {
    recent: VecDeque<(usize, Duration)>,
    largest: usize,
    limit: usize,
    /// Batches in a row that filled the limit.
    filled: usize,
}

impl Pace {
    /// Of batches of at most `largest` items.
    pub(crate) fn new(largest: usize) -> Self {
        Self {
            recent: VecDeque::new(),
            largest,
            limit: largest,
            filled: 0,
        }
    }

    /// Items of the next batch at most.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// How long the next batch may take: a fifth longer than the longest of the last ones, less in proportion where it may only
    /// have a part of their items; nothing before the first.
    pub(crate) fn expected(&self) -> Duration {
        let scaled = |&(size, time): &(usize, Duration)| match size > self.limit {
            true => time.mul_f64(self.limit as f64 / size as f64),
            false => time,
        };
        let longest = self.recent.iter().map(scaled).max().unwrap_or_default();
        longest + longest / SLACK
    }

    /// A batch of so many took this long.
    pub(crate) fn observe(&mut self, size: usize, compute: Duration) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((size, compute));
        self.filled = if size < self.limit {
            0
        } else {
            self.filled + 1
        };
        if self.filled == RECENT {
            self.filled = 0;
            self.limit = (self.limit + 1).min(self.largest);
        }
    }

    /// Nothing was worth computing. The next batch is to be smaller; and were that because of one slow batch, no other would
    /// ever be measured: the oldest is forgotten.
    pub(crate) fn doubt(&mut self) {
        self.recent.pop_front();
        self.filled = 0;
        self.limit = (self.limit / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_fifth_more_than_the_longest_of_the_last_eight_is_expected() {
        let mut pace = Pace::new(4);
        assert_eq!(pace.expected(), Duration::ZERO);
        pace.observe(4, 90 * MS);
        for _ in 1..RECENT {
            pace.observe(1, 20 * MS);
            assert_eq!(pace.expected(), 108 * MS);
        }
        pace.observe(2, 30 * MS);
        assert_eq!(pace.expected(), 36 * MS);
    }

    #[test]
    fn a_slow_batch_cannot_refuse_everything_for_ever() {
        let mut pace = Pace::new(1);
        for _ in 0..RECENT {
            pace.observe(1, 5_000 * MS);
        }
        for _ in 0..RECENT {
            assert_eq!(pace.expected(), 6_000 * MS);
            pace.doubt();
        }
        assert_eq!(pace.expected(), Duration::ZERO);
    }

    #[test]
    fn batches_shrink_until_they_are_in_time_and_grow_again() {
        // 100 ms an item, and callers who wait 600 ms: five at a time are in time, with a fifth to spare.
        let mut pace = Pace::new(16);
        let (mut computed, mut doubted) = (0, 0);
        pace.observe(16, 1_600 * MS);
        for _ in 0..200 {
            if pace.expected() > 600 * MS {
                pace.doubt();
                doubted += 1;
                continue;
            }
            let size = pace.limit();
            pace.observe(size, size as u32 * 100 * MS);
            computed += size;
        }
        assert!(computed > 600 && doubted < 20, "{computed}, {doubted}");
        for _ in 0..16 * RECENT {
            pace.observe(pace.limit(), 10 * MS);
        }
        assert_eq!(pace.limit(), 16);
    }
}
