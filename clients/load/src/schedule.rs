//! When requests are due: Poisson arrivals, drawn before the load begins.
//!
//! Independent callers arrive as a Poisson process: gaps are exponential, so bursts and pauses occur as they do in
//! production, which evenly spaced requests would hide. Drawn ahead of time, as MLPerf's LoadGen does, the schedule can
//! bend neither to the server's answers nor to the generator's own work.

use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp};

/// Most arrivals of one schedule: 160 MB.
const MOST_ARRIVALS: f64 = 1e7;

/// Why there is no schedule.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// No rate.
    #[error("the rate is {0}; it must be a number above 0, in requests per second")]
    Rate(f64),
    /// More than memory should hold.
    #[error(
        "{rate} requests per second for {seconds} s are more than {MOST_ARRIVALS:.0} requests; lower the rate or the duration"
    )]
    TooMany {
        /// Requests per second.
        rate: f64,
        /// Length of the schedule.
        seconds: f64,
    },
}

/// Arrival times from the start of the load, ascending and below `length`: `rate` per second on average, the same for
/// the same seed.
///
/// # Errors
/// A rate that is not above 0, and more than ten million arrivals.
pub fn poisson(rate: f64, length: Duration, seed: u64) -> Result<Vec<Duration>, ScheduleError> {
    if !(rate.is_finite() && rate > 0.0) {
        return Err(ScheduleError::Rate(rate));
    }
    let seconds = length.as_secs_f64();
    if rate * seconds > MOST_ARRIVALS {
        return Err(ScheduleError::TooMany { rate, seconds });
    }
    let gaps = Exp::new(rate).map_err(|_| ScheduleError::Rate(rate))?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut arrivals = Vec::with_capacity((rate * seconds) as usize);
    // Summed as f64, so that rounding to nanoseconds does not add up.
    let mut at = gaps.sample(&mut random);
    while at < seconds {
        arrivals.push(Duration::from_secs_f64(at));
        at += gaps.sample(&mut random);
    }
    Ok(arrivals)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bad_rates_and_endless_schedules_are_refused() {
        let second = Duration::from_secs(1);
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(
                poisson(rate, second, 1),
                Err(ScheduleError::Rate(_))
            ));
        }
        assert!(matches!(
            poisson(1e6, 60 * second, 1),
            Err(ScheduleError::TooMany { .. })
        ));
    }

    #[test]
    fn a_seed_gives_its_schedule_and_a_longer_one_begins_with_it() {
        let of = |seconds, seed| poisson(200.0, Duration::from_secs(seconds), seed).unwrap();
        assert_eq!(of(2, 7), of(2, 7));
        assert_ne!(of(2, 7), of(2, 8));
        assert!(of(4, 7).starts_with(&of(2, 7)));
    }

    proptest! {
        #[test]
        fn arrivals_ascend_within_the_length_at_the_mean_rate(
            rate in 1.0_f64..2000.0, seconds in 0.1_f64..5.0, seed in any::<u64>(),
        ) {
            let length = Duration::from_secs_f64(seconds);
            let arrivals = poisson(rate, length, seed).unwrap();
            prop_assert!(arrivals.is_sorted());
            prop_assert!(arrivals.iter().all(|&at| at < length));
            // A Poisson count has its mean as variance; beyond six deviations there is one in a billion.
            let mean = rate * seconds;
            let deviation = (arrivals.len() as f64 - mean).abs();
            prop_assert!(deviation <= 6.0 * mean.sqrt() + 6.0, "{} of {mean}", arrivals.len());
        }

        #[test]
        fn gaps_are_exponential(rate in 50.0_f64..2000.0, seed in any::<u64>()) {
            let arrivals = poisson(rate, Duration::from_secs_f64(2000.0 / rate), seed).unwrap();
            let mut gaps: Vec<f64> = arrivals.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
            gaps.sort_by(f64::total_cmp);
            // Kolmogorov-Smirnov: the largest distance of the two cumulative distributions.
            let count = gaps.len() as f64;
            let distance = |(index, gap): (usize, &f64)| {
                let expected = 1.0 - (-rate * gap).exp();
                (expected - index as f64 / count).abs().max((expected - (index + 1) as f64 / count).abs())
            };
            let largest = gaps.iter().enumerate().map(distance).fold(0.0, f64::max);
            prop_assert!(largest < 3.0 / count.sqrt(), "{largest} with {count} gaps");
        }
    }
}
