//! Thresholds whose share of bad accepts is bounded, from finitely many bad candidates.
//!
//! Learn-then-test with a fixed sequence (Angelopoulos et al. 2021, <https://arxiv.org/abs/2110.01052>): thresholds are tried
//! from the strictest to the loosest, in an order fixed before any score is seen; each is tested by the exact binomial tail,
//! and the first that fails ends the search. So the chance that the chosen threshold accepts more of the bad candidates than
//! stated is at most 1 - confidence, for any number of thresholds. Assumed: the calibration's bad candidates are independent
//! draws of the bad candidates that will come.

use serde::{Deserialize, Serialize};

use crate::binomial;

/// Thresholds tried between the loosest and the strictest.
const STEPS: u32 = 400;
/// Thresholds are written into recipes: they are whole millionths.
const UNIT: f64 = 1e6;

/// What a threshold must keep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Largest share of bad candidates that may be accepted; above 0, below 1.
    pub max_bad_accepts: f64,
    /// Probability that the threshold keeps it; above 0, below 1.
    pub confidence: f64,
}

/// A threshold that keeps its promise: candidates with at least this score are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Certified {
    /// Smallest accepted score.
    pub min: f64,
    /// Bad candidates of the calibration that it accepts.
    pub bad_accepted: u64,
    /// Upper bound on the share of bad candidates accepted (Clopper and Pearson), at the promise's confidence.
    pub bound: f64,
}

impl Promise {
    /// Fewest bad candidates with which any threshold can be certified: enough to rule the share out if none is accepted.
    pub fn fewest_bad(&self) -> u64 {
        ((1.0 - self.confidence).ln() / (1.0 - self.max_bad_accepts).ln()).ceil() as u64
    }

    /// The loosest threshold from `strictest` down to `loosest` that keeps the promise, given the scores of bad candidates;
    /// a score that is not a number counts as accepted. `None` where even the strictest is not certified.
    pub fn loosest(&self, bad: &[f64], [loosest, strictest]: [f64; 2]) -> Option<Certified> {
        let trials = bad.len() as u64;
        let thresholds = (0..=STEPS)
            .map(|step| strictest + (loosest - strictest) * f64::from(step) / f64::from(STEPS))
            .map(|min| (min * UNIT).round() / UNIT);
        let accepted = |min: f64| {
            bad.iter()
                .filter(|&&score| score >= min || score.is_nan())
                .count() as u64
        };
        let tested = thresholds.map(|min| (min, accepted(min)));
        let kept = tested.take_while(|&(_, accepted)| {
            trials > 0
                && binomial::cumulative(accepted, trials, self.max_bad_accepts)
                    <= 1.0 - self.confidence
        });
        kept.last().map(|(min, bad_accepted)| Certified {
            min,
            bad_accepted,
            bound: binomial::upper_bound(bad_accepted, trials, self.confidence),
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const PROMISE: Promise = Promise {
        max_bad_accepts: 0.1,
        confidence: 0.9,
    };

    /// Bad scores are x squared for x uniform, so that a threshold t accepts 1 - sqrt(t) of them. Over 200 calibrations the
    /// promise may be broken in 1 of 10, give or take three deviations of that count.
    #[test]
    fn the_promise_is_kept_at_its_rate_over_200_calibrations() {
        let (mut broken, mut share) = (0, 0.0);
        for seed in 0..200 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let bad: Vec<f64> = (0..120).map(|_| random.random::<f64>().powi(2)).collect();
            let found = PROMISE.loosest(&bad, [0.0, 1.0]).unwrap();
            let truth = 1.0 - found.min.sqrt();
            broken += u32::from(truth > PROMISE.max_bad_accepts);
            share += truth / 200.0;
        }
        let deviation = (200.0f64 * 0.1 * 0.9).sqrt();
        assert!(
            f64::from(broken) <= 20.0 + 3.0 * deviation,
            "{broken} of 200"
        );
        // A bound that is kept by rejecting everything would be worth nothing.
        assert!(share > 0.04, "accepts {share} of the bad on average");
    }

    #[test]
    fn too_few_bad_candidates_certify_nothing() {
        let few = PROMISE.fewest_bad();
        assert_eq!(few, 22);
        let bad = vec![0.0; few as usize];
        assert!(PROMISE.loosest(&bad, [0.5, 1.0]).is_some());
        assert!(PROMISE.loosest(&bad[1..], [0.5, 1.0]).is_none());
        assert!(PROMISE.loosest(&[], [0.5, 1.0]).is_none());
    }

    #[test]
    fn the_bound_lies_within_the_promise_and_a_missing_score_counts_against_it() {
        let bad: Vec<f64> = (0..300).map(|i| f64::from(i) / 300.0).collect();
        let found = PROMISE.loosest(&bad, [0.0, 1.0]).unwrap();
        assert!(found.bound <= PROMISE.max_bad_accepts, "{found:?}");
        assert_eq!(
            found.bad_accepted,
            bad.iter().filter(|&&score| score >= found.min).count() as u64
        );
        assert!(PROMISE.loosest(&[f64::NAN; 300], [0.0, 1.0]).is_none());
    }
}
