//! A histogram of atomics: the one of `prometheus-client` takes a lock for each value.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric, counter::Counter},
};

/// Seconds: 100 us, doubling, and 30 s.
const SECONDS: [f64; 20] = [
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048,
    0.4096, 0.8192, 1.6384, 3.2768, 6.5536, 13.1072, 26.2144, 30.0,
];

/// Items: powers of two up to the largest batch that can be configured.
const SIZES: [f64; 13] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
];

/// How often values fell into each bucket; clones share it.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Inclusive upper bounds, ascending; beyond the last lies one more bucket.
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    sum: Counter<f64>,
}

impl Histogram {
    pub(crate) fn seconds() -> Self {
        Self::with_bounds(&SECONDS)
    }

    pub(crate) fn sizes() -> Self {
        Self::with_bounds(&SIZES)
    }

    fn with_bounds(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        let sum = Counter::default();
        Self(Arc::new(Buckets {
            bounds,
            counts,
            sum,
        }))
    }

    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        self.observe_value(time.as_secs_f64());
    }

    /// Counts a number of items.
    pub fn observe_size(&self, items: usize) {
        self.observe_value(items as f64);
    }

    fn observe_value(&self, value: f64) {
        let bucket = self.0.bounds.partition_point(|&bound| bound < value);
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
            self.0.sum.inc_by(value);
        }
    }

    /// Values so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Relaxed)).sum()
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.0.counts.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.0.sum.get(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(histogram: &Histogram) -> Vec<(usize, u64)> {
        let counts = histogram.0.counts.iter().map(|count| count.load(Relaxed));
        counts.enumerate().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_the_last_bucket_has_none() {
        let times = Histogram::seconds();
        for micros in [0, 100, 101, 30_000_000, 30_000_001] {
            times.observe(Duration::from_micros(micros));
        }
        assert_eq!(counts(&times), [(0, 2), (1, 1), (19, 1), (20, 1)]);
        assert_eq!(times.count(), 5);
        assert!((times.0.sum.get() - 60.000_202).abs() < 1e-9);
        let sizes = Histogram::sizes();
        for items in [1, 2, 3, 4096, 5000] {
            sizes.observe_size(items);
        }
        assert_eq!(counts(&sizes), [(0, 1), (1, 1), (2, 1), (12, 1), (13, 1)]);
    }

    #[test]
    fn values_of_many_threads_are_all_counted() {
        let sizes = Histogram::sizes();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| sizes.observe_size(3)));
            }
        });
        assert_eq!((sizes.count(), sizes.0.sum.get()), (4000, 12_000.0));
    }
}
