//! Counts requests of a key in every window.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Arrivals within the latest window, by key, and the most there ever were.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    latest: HashMap<String, VecDeque<Instant>>,
    most: usize,
}

impl Quotas {
    /// Counts an arrival; how many there are in the window that ends with it.
    pub(crate) fn count(&mut self, key: &str, at: Instant, window: Duration) -> usize {
        let latest = self.latest.entry(key.to_owned()).or_default();
        while latest
            .front()
            .is_some_and(|first| at.saturating_duration_since(*first) >= window)
        {
            latest.pop_front();
        }
        latest.push_back(at);
        self.most = self.most.max(latest.len());
        latest.len()
    }

    /// The most arrivals of any key in any window.
    pub(crate) fn most(&self) -> usize {
        self.most
    }
}
