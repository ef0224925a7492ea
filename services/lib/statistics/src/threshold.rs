//! Thresholds of a cascade whose share of bad accepts is bounded, from finitely many bad candidates.
//!
//! Learn-then-test with fixed sequences (Angelopoulos et al. 2021, <https://arxiv.org/abs/2110.01052>): thresholds are lowered
//! along paths, from the strictest step to the loosest, that are fixed before any score of a bad candidate is seen; each step
//! is tested by the exact binomial tail, and the first that fails ends its path. There is a path for each choice of gates that
//! decide, since a gate that cannot tell good from bad only loses good ones; the risk of error is divided among the paths. So
//! the chance that the thresholds let more of the bad candidates through the cascade than stated is at most 1 - confidence,
//! whichever step of whichever path is chosen: the one that most good candidates pass. Assumed: the calibration's bad
//! candidates are independent draws of the bad candidates that will come.

mod path;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::binomial;
use path::Path;

/// What the thresholds must keep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// Largest share of bad candidates that may be accepted; above 0, below 1.
    pub max_bad_accepts: f64,
    /// Probability that the thresholds keep it; above 0, below 1.
    pub confidence: f64,
}

/// Scores of candidates whose truth is known, `[candidate][gate]`. One that is not a number counts as accepted where the
/// candidate is bad, minus infinity never does.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// Those that should pass.
    pub good: &'a [Vec<f64>],
    /// Those that should not.
    pub bad: &'a [Vec<f64>],
    /// Lowest and highest threshold of each gate.
    pub ranges: &'a [[f64; 2]],
}

/// Thresholds that keep their promise: a candidate is accepted where each of its scores is at least its gate's.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// By gate.
    pub min: Vec<f64>,
    /// Good candidates of the calibration that pass.
    pub good_accepted: u64,
    /// Bad candidates of the calibration that pass.
    pub bad_accepted: u64,
    /// Upper bound on the share of bad candidates that pass (Clopper and Pearson), at the promise's confidence.
    pub bound: f64,
}

/// What came of making the same choice many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    /// How often.
    pub repetitions: u32,
    /// Times that thresholds were certified.
    pub certified: u32,
    /// Times of those that they accepted no more of the bad candidates than promised.
    pub kept: u32,
}

impl Promise {
    /// The field whose value is no share above 0 and below 1, and why.
    pub fn invalid(&self) -> Option<(&'static str, String)> {
        let fields = [
            ("max_bad_accepts", self.max_bad_accepts),
            ("confidence", self.confidence),
        ];
        let wrong = fields
            .into_iter()
            .find(|(_, share)| !(*share > 0.0 && *share < 1.0));
        wrong.map(|(field, share)| {
            let why = format!("is {share}; it must lie above 0 and below 1");
            (field, why)
        })
    }

    /// Of all steps that keep the promise the one that most good candidates pass, and of those the fewest bad ones. `None`
    /// where not even the strictest is certified.
    pub fn choose(&self, scored: &Scored<'_>) -> Option<Chosen> {
        let paths = Tested::all(scored);
        let bad: Vec<usize> = (0..scored.bad.len()).collect();
        let (path, certified) = self.best(&paths, &bad)?;
        Some(Chosen {
            min: path.path.thresholds(certified.step).to_vec(),
            good_accepted: certified.good_accepted,
            bad_accepted: certified.bad_accepted,
            bound: binomial::upper_bound(
                certified.bad_accepted,
                bad.len() as u64,
                1.0 - self.risk(&paths),
            ),
        })
    }

    /// [`choose`](Self::choose) again and again, each time for as many bad candidates drawn from them with replacement, so that
    /// what the thresholds really accept is known: their share of `bad`. The promise is worth its words where `kept` is at
    /// least `confidence` of `certified`, but for the chance of so many repetitions.
    pub fn repeated(&self, scored: &Scored<'_>, repetitions: u32, seed: u64) -> Repeated {
        let paths = Tested::all(scored);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut found = Repeated {
            repetitions,
            certified: 0,
            kept: 0,
        };
        let count = scored.bad.len();
        if count == 0 {
            return found;
        }
        let all: Vec<usize> = (0..count).collect();
        for _ in 0..repetitions {
            let drawn: Vec<usize> = (0..count).map(|_| random.random_range(0..count)).collect();
            if let Some((path, certified)) = self.best(&paths, &drawn) {
                let accepted = Ordered::new(&path.bad, &all).accepted(certified.step);
                found.certified += 1;
                found.kept += u32::from(accepted as f64 <= self.max_bad_accepts * count as f64);
            }
        }
        found
    }

    /// The best certified step for these bad candidates, and its path.
    fn best<'a>(&self, paths: &'a [Tested], bad: &[usize]) -> Option<(&'a Tested, Certified)> {
        let risk = self.risk(paths);
        let certified = paths
            .iter()
            .filter_map(|path| Some((path, self.loosest(path, bad, risk)?)));
        certified.min_by_key(|(_, step)| (u64::MAX - step.good_accepted, step.bad_accepted))
    }

    /// The loosest step of a path whose test and all before it succeed.
    fn loosest(&self, path: &Tested, bad: &[usize], risk: f64) -> Option<Certified> {
        let (bad, trials) = (Ordered::new(&path.bad, bad), bad.len() as u64);
        let tested = (0..path.path.len()).map(|step| (step, bad.accepted(step)));
        let kept = tested.take_while(|&(_, accepted)| {
            trials > 0 && binomial::cumulative(accepted, trials, self.max_bad_accepts) <= risk
        });
        let (step, bad_accepted) = kept.last()?;
        Some(Certified {
            step,
            good_accepted: path.good.accepted(step),
            bad_accepted,
        })
    }

    /// What each path may err.
    fn risk(&self, paths: &[Tested]) -> f64 {
        (1.0 - self.confidence) / paths.len().max(1) as f64
    }
}

/// A step that keeps its promise.
struct Certified {
    step: usize,
    good_accepted: u64,
    bad_accepted: u64,
}

/// A path, and the step of it that first accepts each candidate; `None`: no step does.
struct Tested {
    path: Path,
    good: Ordered,
    bad: Vec<Option<usize>>,
}

impl Tested {
    fn all(scored: &Scored<'_>) -> Vec<Self> {
        let paths = Path::all(scored.good, scored.ranges);
        let tested = paths.into_iter().map(|path| {
            let of = |side: &[Vec<f64>]| -> Vec<Option<usize>> {
                side.iter().map(|scores| path.first(scores)).collect()
            };
            let good: Vec<usize> = (0..scored.good.len()).collect();
            let (good, bad) = (Ordered::new(&of(scored.good), &good), of(scored.bad));
            Self { path, good, bad }
        });
        tested.collect()
    }
}

/// The first accepting steps in ascending order.
struct Ordered(Vec<usize>);

impl Ordered {
    /// Of these candidates.
    fn new(first: &[Option<usize>], candidates: &[usize]) -> Self {
        let of = |&candidate: &usize| first.get(candidate).copied().flatten();
        let mut first: Vec<usize> = candidates.iter().filter_map(of).collect();
        first.sort_unstable();
        Self(first)
    }

    /// Candidates that a step accepts.
    fn accepted(&self, step: usize) -> u64 {
        self.0.partition_point(|&first| first <= step) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Promise = Promise {
        max_bad_accepts: 0.1,
        confidence: 0.9,
    };
    const UNIT_RANGE: [[f64; 2]; 1] = [[0.0, 1.0]];

    fn scores(of: impl IntoIterator<Item = f64>) -> Vec<Vec<f64>> {
        of.into_iter().map(|score| vec![score]).collect()
    }

    /// Of one gate, with too few good candidates to follow.
    fn alone(bad: &[Vec<f64>]) -> Scored<'_> {
        Scored {
            good: &[],
            bad,
            ranges: &UNIT_RANGE,
        }
    }

    /// Candidates of three gates: a good one scores higher at the first two, on average, and the third knows nothing.
    fn candidates(random: &mut ChaCha8Rng, count: usize, good: bool) -> Vec<Vec<f64>> {
        let mut candidate = || {
            let [a, b, c]: [f64; 3] = std::array::from_fn(|_| random.random());
            let at = |uniform: f64| {
                if good {
                    uniform.sqrt()
                } else {
                    uniform.powi(2)
                }
            };
            vec![at(a), at(b), c]
        };
        (0..count).map(|_| candidate()).collect()
    }

    /// The truth is counted on 20,000 other bad candidates. Over 200 calibrations the promise may be broken in 1 of 10, give or
    /// take three deviations of that count.
    #[test]
    fn a_cascade_keeps_the_promise_at_its_rate_over_200_calibrations() {
        let truth = candidates(&mut ChaCha8Rng::seed_from_u64(1_000), 20_000, false);
        let (mut broken, mut share, mut passed) = (0, 0.0, 0.0);
        for seed in 0..200 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let good = candidates(&mut random, 100, true);
            let bad = candidates(&mut random, 120, false);
            let scored = Scored {
                good: &good,
                bad: &bad,
                ranges: &[[0.0, 1.0]; 3],
            };
            let found = PROMISE.choose(&scored).unwrap();
            let accepts = |scores: &&Vec<f64>| {
                let mut gates = scores.iter().zip(&found.min);
                gates.all(|(score, min)| score >= min)
            };
            let accepted = truth.iter().filter(accepts).count() as f64 / truth.len() as f64;
            broken += u32::from(accepted > PROMISE.max_bad_accepts);
            share += accepted / 200.0;
            passed += good.iter().filter(accepts).count() as f64 / 20_000.0;
            assert_eq!(
                found.good_accepted,
                good.iter().filter(accepts).count() as u64
            );
        }
        let deviation = (200.0f64 * 0.1 * 0.9).sqrt();
        assert!(
            f64::from(broken) <= 20.0 + 3.0 * deviation,
            "{broken} of 200"
        );
        // A bound that is kept by rejecting everything would be worth nothing. With both informative gates at the same threshold t
        // 0.06 of the bad, (1 - sqrt(t))^2, go with 0.46 of the good, (1 - t^2)^2; with one of them with 0.22.
        assert!(share > 0.03, "accepts {share} of the bad on average");
        assert!(passed > 0.3, "accepts {passed} of the good on average");
    }

    /// Most of the scores are one and the same, as those of gates often are.
    #[test]
    fn repeated_on_scores_with_ties_the_promise_is_kept_at_its_rate() {
        let bad = scores((0..200).map(|i| f64::from((i % 40).max(20)) / 40.0));
        let found = PROMISE.repeated(&alone(&bad), 200, 1);
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
        assert_eq!(found, PROMISE.repeated(&alone(&bad), 200, 1));
        let none = PROMISE.repeated(&alone(&bad[..10]), 200, 1);
        assert_eq!((none.certified, none.kept), (0, 0));
        assert_eq!(PROMISE.repeated(&alone(&[]), 200, 1).certified, 0);
    }

    #[test]
    fn too_few_bad_candidates_certify_nothing() {
        // 0.9^22 is the first power below 1 - 0.9.
        let bad = vec![vec![f64::NEG_INFINITY]; 22];
        assert!(PROMISE.choose(&alone(&bad)).is_some());
        assert!(PROMISE.choose(&alone(&bad[1..])).is_none());
        assert!(PROMISE.choose(&alone(&[])).is_none());
    }

    #[test]
    fn the_bound_lies_within_the_promise_and_a_missing_score_counts_against_it() {
        let bad = scores((0..300).map(|i| f64::from(i) / 300.0));
        let found = PROMISE.choose(&alone(&bad)).unwrap();
        assert!(found.bound <= PROMISE.max_bad_accepts, "{found:?}");
        assert_eq!(
            found.bad_accepted,
            bad.iter()
                .filter(|scores| scores[0] >= found.min[0])
                .count() as u64
        );
        let missing = vec![vec![f64::NAN]; 300];
        assert!(PROMISE.choose(&alone(&missing)).is_none());
    }

    #[test]
    fn good_candidates_that_lie_apart_cost_nothing_and_a_gate_that_knows_nothing_decides_nothing() {
        let good: Vec<Vec<f64>> = (0..40).map(|i| vec![0.8, f64::from(i) / 40.0]).collect();
        let bad: Vec<Vec<f64>> = (0..80)
            .map(|i| vec![f64::from(i) / 200.0, f64::from(i % 40) / 40.0])
            .collect();
        let scored = Scored {
            good: &good,
            bad: &bad,
            ranges: &[[0.0, 1.0], [-1.0, 1.0]],
        };
        let found = PROMISE.choose(&scored).unwrap();
        assert_eq!((found.good_accepted, found.bad_accepted), (40, 0));
        assert_eq!(found.min[0], 0.8);
        assert!(found.min[1] <= 0.0, "{found:?}");
    }
}
