//! How long what comes now will take: the pace of the last batches and what the workers are at, known to everyone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::pace::Pace;

/// What is known of the work.
#[derive(Debug)]
pub(crate) struct Outlook {
    max_batch: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// For each worker, when its batch should be done; `None` where it computes none.
    done: Vec<Option<Instant>>,
}

impl Outlook {
    pub(crate) fn new(workers: usize, max_batch: usize) -> Self {
        Self {
            max_batch,
            state: Mutex::new(State {
                pace: Pace::default(),
                done: vec![None; workers],
            }),
        }
    }

    /// How long a batch of so many items may take.
    pub(crate) fn expected(&self, items: usize) -> Duration {
        self.lock().pace.expected(items)
    }

    /// A worker begins a batch of so many items.
    pub(crate) fn begin(&self, worker: usize, items: usize) {
        let mut state = self.lock();
        let done = Instant::now().checked_add(state.pace.expected(items));
        if let Some(of_worker) = state.done.get_mut(worker) {
            *of_worker = done;
        }
    }

    /// A worker has computed its batch of so many items in this time.
    pub(crate) fn end(&self, worker: usize, items: usize, time: Duration) {
        let mut state = self.lock();
        state.pace.observe(items, time);
        if let Some(of_worker) = state.done.get_mut(worker) {
            *of_worker = None;
        }
    }

    /// Nothing was worth computing.
    pub(crate) fn doubt(&self) {
        self.lock().pace.forget();
    }

    /// How long an item with so many `ahead` of it may take: what is left of the batch that is done first, the whole batches before
    /// its own, divided among the workers, and its own. Nothing where a worker is free and none is ahead: were a slow batch to
    /// refuse every item before it reaches a worker, no other would ever be measured.
    pub(crate) fn wait(&self, ahead: usize) -> Duration {
        let state = self.lock();
        // None is before any.
        let first = state.done.iter().min().copied().flatten();
        if ahead == 0 && first.is_none() {
            return Duration::ZERO;
        }
        let left = first.map_or(Duration::ZERO, |done| {
            done.saturating_duration_since(Instant::now())
        });
        let workers = state.done.len().max(1);
        let (whole, rest) = (
            ahead / workers / self.max_batch,
            ahead / workers % self.max_batch,
        );
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        let of_whole = state.pace.expected(self.max_batch).saturating_mul(whole);
        left.saturating_add(of_whole)
            .saturating_add(state.pace.expected(rest + 1))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// Batches have four items at most and are expected to take an hour, whatever they have.
    fn of_four(workers: usize) -> Outlook {
        let outlook = Outlook::new(workers, 4);
        for worker in 0..workers {
            outlook.end(worker, 4, HOUR * 5 / 6);
        }
        outlook
    }

    fn about(found: Duration, hours: f64) -> bool {
        (found.as_secs_f64() / 3_600.0 - hours).abs() < 0.01
    }

    #[test]
    fn whole_batches_ahead_count_and_the_items_own() {
        assert_eq!(Outlook::new(1, 4).wait(100), Duration::ZERO);
        let outlook = of_four(1);
        assert_eq!(outlook.wait(0), Duration::ZERO);
        for (ahead, hours) in [(3, 1.0), (4, 2.0), (11, 3.0)] {
            assert!(about(outlook.wait(ahead), hours), "{ahead}");
        }
        assert!(about(of_four(2).wait(11), 2.0));
    }

    #[test]
    fn what_is_left_of_the_batch_that_is_done_first_counts() {
        let outlook = of_four(2);
        outlook.begin(0, 12);
        assert_eq!(outlook.wait(0), Duration::ZERO, "the other is free");
        outlook.begin(1, 8);
        assert!(about(outlook.wait(0), 3.0), "{:?}", outlook.wait(0));
        outlook.end(0, 4, HOUR * 5 / 6);
        assert_eq!(outlook.wait(0), Duration::ZERO);
    }

    #[test]
    fn a_batch_that_takes_longer_than_expected_has_nothing_left() {
        let outlook = Outlook::new(1, 4);
        outlook.begin(0, 4);
        assert_eq!(outlook.wait(0), Duration::ZERO);
    }
}
