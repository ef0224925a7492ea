//! Exact binomial tails and the bound of Clopper and Pearson (1934) on a share.

/// Halvings of an interval of length 1: to the precision of `f64`.
const HALVINGS: u32 = 60;

/// P(X <= `successes`) for X binomial with `trials` and `share`, 0 to 1.
pub fn cumulative(successes: u64, trials: u64, share: f64) -> f64 {
    if successes >= trials || share <= 0.0 {
        return 1.0;
    }
    if share >= 1.0 {
        return 0.0;
    }
    let odds = (share / (1.0 - share)).ln();
    let mut log = trials as f64 * (1.0 - share).ln();
    let mut sum = log.exp();
    for i in 0..successes {
        log += ((trials - i) as f64 / (i + 1) as f64).ln() + odds;
        sum += log.exp();
    }
    sum.min(1.0)
}

/// The largest share that `successes` of `trials` do not rule out at this confidence (one-sided, 0 to 1): whatever the share
/// is, the bound lies below it with probability 1 - confidence at most. 1 without trials.
pub fn upper_bound(successes: u64, trials: u64, confidence: f64) -> f64 {
    if successes >= trials {
        return 1.0;
    }
    let (mut low, mut high) = (successes as f64 / trials as f64, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if cumulative(successes, trials, middle) > 1.0 - confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By scipy 1.17: binom.cdf(k, n, p) and beta.ppf(confidence, k + 1, n - k).
    #[test]
    fn equal_the_reference() {
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        };
        close(cumulative(3, 20, 0.1), 0.867_046_676_565_664_9);
        close(cumulative(40, 1_000, 0.05), 0.080_636_573_256_691);
        close(upper_bound(0, 59, 0.95), 0.049_507_609_888_227);
        close(upper_bound(3, 200, 0.95), 0.038_309_708_498_569);
    }

    #[test]
    fn nothing_is_ruled_out_without_trials_or_failures() {
        assert_eq!(upper_bound(0, 0, 0.95), 1.0);
        assert_eq!(upper_bound(7, 7, 0.95), 1.0);
    }

    proptest! {
        #[test]
        fn the_bound_is_where_the_tail_is_the_error(trials in 1u64..400, part in 0.0f64..1.0, confidence in 0.5f64..0.999) {
            let successes = (part * trials as f64) as u64;
            prop_assume!(successes < trials);
            let bound = upper_bound(successes, trials, confidence);
            prop_assert!((cumulative(successes, trials, bound) - (1.0 - confidence)).abs() < 1e-9);
            prop_assert!(bound > successes as f64 / trials as f64);
        }
    }
}
