//! Histograms of times: HdrHistogram with three significant digits from a microsecond to an hour.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

/// Nanoseconds.
const LOWEST: u64 = 1_000;
const HIGHEST: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// Times of one kind; a quantile is exact to 0.1 %.
#[derive(Debug, Clone)]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Result<Self, CreationError> {
        Histogram::new_with_bounds(LOWEST, HIGHEST, DIGITS).map(Self)
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(nanoseconds(time));
    }

    /// Milliseconds at `quantile` (0 to 1); 0 where nothing was recorded.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        milliseconds(self.0.value_at_quantile(quantile))
    }

    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        (!self.0.is_empty()).then(|| Percentiles {
            mean: self.0.mean() / 1e6,
            p50: self.at(0.5),
            p90: self.at(0.9),
            p99: self.at(0.99),
            p99_9: self.at(0.999),
            max: milliseconds(self.0.max()),
        })
    }
}

/// A distribution of times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Arithmetic mean.
    pub mean: f64,
    /// Half of the times are at most this.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// 99.9 % are at most this.
    pub p99_9: f64,
    /// The longest.
    pub max: f64,
}

/// A histogram for one interval of a log. There is one for each second, so it is as small as its longest time allows.
pub(crate) fn interval() -> Result<Histogram<u32>, CreationError> {
    let mut histogram = Histogram::new_with_bounds(LOWEST, 2 * LOWEST, DIGITS)?;
    histogram.auto(true);
    Ok(histogram)
}

/// Whole nanoseconds, at most an hour.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).map_or(HIGHEST, |time| time.min(HIGHEST))
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut times = Times::new().unwrap();
        assert_eq!(times.percentiles(), None);
        for millisecond in 1..=1000 {
            times.record(Duration::from_millis(millisecond));
        }
        let found = times.percentiles().unwrap();
        for (found, expected) in [
            (found.mean, 500.5),
            (found.p50, 500.0),
            (found.p90, 900.0),
            (found.p99, 990.0),
            (found.p99_9, 999.0),
            (found.max, 1000.0),
        ] {
            assert!(
                (found / expected - 1.0).abs() < 2e-3,
                "{found}, not {expected}"
            );
        }
    }

    #[test]
    fn times_out_of_range_are_kept_at_its_end() {
        let mut times = Times::new().unwrap();
        times.record(Duration::MAX);
        times.record(Duration::ZERO);
        let found = times.percentiles().unwrap();
        assert!(found.max >= 3.6e6 && found.max < 3.61e6, "{} ms", found.max);
        let mut interval = interval().unwrap();
        interval.record(nanoseconds(Duration::MAX)).unwrap();
    }
}
