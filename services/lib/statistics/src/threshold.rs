//! Thresholds whose share of bad accepts is bounded, from finitely many bad candidates.
//!
//! Learn-then-test with a fixed sequence (Angelopoulos et al. 2021, <https://arxiv.org/abs/2110.01052>): thresholds are tried
//! from the strictest to the loosest, in an order fixed before any score is seen; each is tested by the exact binomial tail,
//! and the first that fails ends the search. So the chance that the chosen threshold accepts more of the bad candidates than
//! stated is at most 1 - confidence, for any number of thresholds. Assumed: the calibration's bad candidates are independent
//! draws of the bad candidates that will come.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::binomial;

/// Thresholds tried between the loosest and the strictest.
const STEPS: u32 = 400;
/// Thresholds are written into recipes: they are whole millionths.
const UNIT: f64 = 1e6;

/// What a threshold must keep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// What came of making the same choice many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    /// How often.
    pub repetitions: u32,
    /// Times that a threshold was certified.
    pub certified: u32,
    /// Times of those that it accepted no more of the bad candidates than promised.
    pub kept: u32,
}

impl Promise {
    /// Fewest bad candidates with which any threshold can be certified: enough to rule the share out if none is accepted.
    pub fn fewest_bad(&self) -> u64 {
        ((1.0 - self.confidence).ln() / (1.0 - self.max_bad_accepts).ln()).ceil() as u64
    }

    /// The loosest threshold from `strictest` down to `loosest` that keeps the promise, given the scores of bad candidates;
    /// a score that is not a number counts as accepted. `None` where even the strictest is not certified.
    pub fn loosest(&self, bad: &[f64], [loosest, strictest]: [f64; 2]) -> Option<Certified> {
        let bad = Ordered::new(bad);
        let trials = bad.0.len() as u64;
        let thresholds = (0..=STEPS)
            .map(|step| strictest + (loosest - strictest) * f64::from(step) / f64::from(STEPS))
            .map(|min| (min * UNIT).round() / UNIT);
        let tested = thresholds.map(|min| (min, bad.accepted(min)));
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

    /// [`loosest`](Self::loosest) again and again, each time for as many scores drawn from `bad` with replacement, so that
    /// what the threshold really accepts is known: its share of `bad`. The promise is worth its words where `kept` is at
    /// least `confidence` of `certified`, but for the chance of so many repetitions.
    pub fn repeated(&self, bad: &[f64], range: [f64; 2], repetitions: u32, seed: u64) -> Repeated {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut found = Repeated {
            repetitions,
            certified: 0,
            kept: 0,
        };
        if bad.is_empty() {
            return found;
        }
        let all = Ordered::new(bad);
        let allowed = self.max_bad_accepts * bad.len() as f64;
        for _ in 0..repetitions {
            let drawn: Vec<f64> = (0..bad.len())
                .filter_map(|_| bad.get(random.random_range(0..bad.len())).copied())
                .collect();
            if let Some(chosen) = self.loosest(&drawn, range) {
                found.certified += 1;
                found.kept += u32::from(all.accepted(chosen.min) as f64 <= allowed);
            }
        }
        found
    }
}

/// Scores in ascending order; what is not a number comes last.
struct Ordered(Vec<f64>);

impl Ordered {
    fn new(scores: &[f64]) -> Self {
        let number = |&score: &f64| {
            if score.is_nan() { f64::INFINITY } else { score }
        };
        let mut scores: Vec<f64> = scores.iter().map(number).collect();
        scores.sort_unstable_by(f64::total_cmp);
        Self(scores)
    }

    /// Scores of at least `min`.
    fn accepted(&self, min: f64) -> u64 {
        (self.0.len() - self.0.partition_point(|&score| score < min)) as u64
    }
}

#[cfg(test)]
mod tests {
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

    /// Most of the scores are one and the same, as those of gates often are.
    #[test]
    fn repeated_on_scores_with_ties_the_promise_is_kept_at_its_rate() {
        let bad: Vec<f64> = (0..200)
            .map(|i| f64::from((i % 40).max(20)) / 40.0)
            .collect();
        let found = PROMISE.repeated(&bad, [0.0, 1.0], 200, 1);
        let deviation = (200.0f64 * 0.1 * 0.9).sqrt();
        assert_eq!(found.certified, 200);
        assert!(
            f64::from(found.kept) >= 180.0 - 3.0 * deviation,
            "{found:?}"
        );
        assert!(
            found.kept < 200,
            "a promise that is never broken is too careful"
        );
        assert_eq!(found, PROMISE.repeated(&bad, [0.0, 1.0], 200, 1));
        let none = PROMISE.repeated(&bad[..10], [0.0, 1.0], 200, 1);
        assert_eq!((none.certified, none.kept), (0, 0));
        assert_eq!(PROMISE.repeated(&[], [0.0, 1.0], 200, 1).certified, 0);
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
