//! How much of the workers' capacity was in use, as a gauge to scale by.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

/// A reading averages over at least this, however many scrape and however often.
const WINDOW: Duration = Duration::from_secs(10);

/// The share of places in batches that items being computed took, averaged over time; clones share it.
///
/// A place is one item of one worker's largest batch. Unlike the share of time in which workers were busy, it does not
/// say that a worker which computes single items one after another can do no more where batches of 32 cost it little.
#[derive(Debug, Clone, Default)]
pub struct Saturation(Arc<Mutex<Use>>);

#[derive(Debug)]
struct Use {
    places: usize,
    computing: usize,
    /// Integral of `computing` over time until `since`, in item seconds.
    integral: f64,
    since: Instant,
    /// The reading that the average starts from, and the one that follows it.
    base: Reading,
    next: Reading,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    integral: f64,
}

impl Default for Use {
    fn default() -> Self {
        let at = Instant::now();
        let reading = Reading { at, integral: 0.0 };
        Self {
            places: 0,
            computing: 0,
            integral: 0.0,
            since: at,
            base: reading,
            next: reading,
        }
    }
}

impl Saturation {
    pub(crate) fn add_places(&self, places: usize) {
        self.lock().places += places;
    }

    pub(crate) fn remove_places(&self, places: usize) {
        let mut used = self.lock();
        used.places = used.places.saturating_sub(places);
    }

    pub(crate) fn begin(&self, items: usize) {
        self.lock()
            .change(Instant::now(), |computing| computing + items);
    }

    pub(crate) fn end(&self, items: usize) {
        let less = |computing: usize| computing.saturating_sub(items);
        self.lock().change(Instant::now(), less);
    }

    fn lock(&self) -> MutexGuard<'_, Use> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Use {
    fn integral(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.since);
        self.integral + self.computing as f64 * passed.as_secs_f64()
    }

    fn change(&mut self, now: Instant, computing: impl FnOnce(usize) -> usize) {
        self.integral = self.integral(now);
        self.since = self.since.max(now);
        self.computing = computing(self.computing);
    }

    /// 0 to 1; 0 without places.
    fn read(&mut self, now: Instant) -> f64 {
        let integral = self.integral(now);
        if now.saturating_duration_since(self.next.at) >= WINDOW {
            self.base = self.next;
            self.next = Reading { at: now, integral };
        }
        let passed = now.saturating_duration_since(self.base.at).as_secs_f64();
        let places = self.places as f64 * passed;
        if places > 0.0 {
            ((integral - self.base.integral) / places).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

impl EncodeMetric for Saturation {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        encoder.encode_gauge(&self.lock().read(Instant::now()))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Saturation {
    const TYPE: MetricType = MetricType::Gauge;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value}, not {expected}");
    }

    #[test]
    fn it_averages_the_places_taken_since_a_reading_of_ten_seconds_ago() {
        let mut used = Use {
            places: 8,
            ..Use::default()
        };
        let start = used.since;
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        close(used.read(start), 0.0);
        // Half of the places for 4 of 8 seconds, and a batch under way counts as far as it has come.
        used.change(at(4), |_| 4);
        close(used.read(at(8)), 0.25);
        used.change(at(12), |_| 8);
        close(used.read(at(16)), 0.5);
        // Its base is the reading of 16 seconds.
        close(used.read(at(26)), 1.0);
        used.change(at(26), |_| 0);
        // Scraped every second, it still looks back at least ten.
        close(used.read(at(27)), 10.0 / 11.0);
        close(used.read(at(36)), 0.0);
    }

    #[test]
    fn without_workers_it_is_zero() {
        let mut used = Use::default();
        used.change(used.since, |_| 4);
        close(used.read(used.since + WINDOW), 0.0);
    }
}
