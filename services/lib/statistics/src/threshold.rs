//! Thresholds of a cascade whose share of bad accepts is bounded, from finitely many bad candidates.
//!
//! Learn-then-test with a fixed sequence (Angelopoulos et al. 2021, <https://arxiv.org/abs/2110.01052>): the thresholds of all
//! gates are lowered together along a [`Path`], from the strictest step to the loosest, that is fixed before any score of a
//! bad candidate is seen; each step is tested by the exact binomial tail, and the first that fails ends the search. So the
//! chance that the chosen step lets more of the bad candidates through the cascade than stated is at most 1 - confidence, for
//! any number of steps. Assumed: the calibration's bad candidates are independent draws of the bad candidates that will come.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::binomial;

/// Fewest good candidates that show where they lie; with fewer a path follows the ranges of the scores.
const FEWEST_GOOD: usize = 10;
/// Steps of such a path.
const EVEN_STEPS: u32 = 400;
/// Thresholds are written into recipes: they are whole millionths.
const UNIT: f64 = 1e6;

/// What the thresholds must keep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// Largest share of bad candidates that may be accepted; above 0, below 1.
    pub max_bad_accepts: f64,
    /// Probability that the thresholds keep it; above 0, below 1.
    pub confidence: f64,
}

/// Thresholds of several gates, from the strictest to the loosest: a candidate is accepted where each of its scores is at
/// least its gate's threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// `[step][gate]`; none is higher than in the step before.
    steps: Vec<Vec<f64>>,
}

impl Path {
    /// Along the scores of good candidates (`[candidate][gate]`): at each step every gate by itself loses the same number of
    /// them, at the last one none. Where these are fewer than ten, evenly down the ranges of the scores, `[lowest, highest]`
    /// of each gate.
    pub fn new(good: &[Vec<f64>], ranges: &[[f64; 2]]) -> Self {
        if good.len() < FEWEST_GOOD {
            return Self::even(ranges);
        }
        let falling = |gate: usize| {
            let of_gate = good
                .iter()
                .map(|scores| scores.get(gate).copied().unwrap_or(f64::NAN));
            let mut scores: Vec<f64> = of_gate.filter(|score| !score.is_nan()).collect();
            scores.sort_unstable_by(|a, b| b.total_cmp(a));
            scores
        };
        let columns: Vec<Vec<f64>> = (0..ranges.len()).map(falling).collect();
        let shortest = columns.iter().map(Vec::len).min().unwrap_or(0);
        let step = |step: usize| {
            let column =
                |column: &Vec<f64>| column.get(step).map(|min| (min * UNIT).floor() / UNIT);
            columns.iter().filter_map(column).collect()
        };
        Self {
            steps: (0..shortest).map(step).collect(),
        }
    }

    fn even(ranges: &[[f64; 2]]) -> Self {
        let step = |step: u32| {
            let down = f64::from(step) / f64::from(EVEN_STEPS);
            let of_gate = |&[lowest, highest]: &[f64; 2]| highest + (lowest - highest) * down;
            let whole = |min: f64| (min * UNIT).round() / UNIT;
            ranges.iter().map(of_gate).map(whole).collect()
        };
        Self {
            steps: (0..=EVEN_STEPS).map(step).collect(),
        }
    }

    /// The first step that accepts a candidate with these scores; `None`: no step does. A score that is not a number counts as
    /// accepted.
    pub fn first(&self, scores: &[f64]) -> Option<usize> {
        let accepts = |step: &Vec<f64>| {
            let mut gates = step.iter().zip(scores);
            gates.all(|(min, score)| score.is_nan() || score >= min)
        };
        let first = self.steps.partition_point(|step| !accepts(step));
        (first < self.steps.len()).then_some(first)
    }

    /// The thresholds of a step, by gate.
    pub fn thresholds(&self, step: usize) -> &[f64] {
        self.steps.get(step).map_or(&[], Vec::as_slice)
    }

    /// How many steps there are.
    fn len(&self) -> usize {
        self.steps.len()
    }
}

/// A step that keeps its promise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Certified {
    /// Of the path.
    pub step: usize,
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
    /// Times that a step was certified.
    pub certified: u32,
    /// Times of those that it accepted no more of the bad candidates than promised.
    pub kept: u32,
}

impl Promise {
    /// Fewest bad candidates with which any step can be certified: enough to rule the share out if none is accepted.
    pub fn fewest_bad(&self) -> u64 {
        ((1.0 - self.confidence).ln() / (1.0 - self.max_bad_accepts).ln()).ceil() as u64
    }

    /// The loosest step that keeps the promise, given which step first accepts each bad candidate ([`Path::first`]). `None` where
    /// even the strictest is not certified.
    pub fn loosest(&self, path: &Path, bad: &[Option<usize>]) -> Option<Certified> {
        let bad = Ordered::new(bad);
        let tested = (0..path.len()).map(|step| (step, bad.accepted(step)));
        let kept = tested.take_while(|&(_, accepted)| {
            bad.trials > 0
                && binomial::cumulative(accepted, bad.trials, self.max_bad_accepts)
                    <= 1.0 - self.confidence
        });
        kept.last().map(|(step, bad_accepted)| Certified {
            step,
            bad_accepted,
            bound: binomial::upper_bound(bad_accepted, bad.trials, self.confidence),
        })
    }

    /// [`loosest`](Self::loosest) again and again, each time for as many candidates drawn from `bad` with replacement, so that
    /// what the step really accepts is known: its share of `bad`. The promise is worth its words where `kept` is at least
    /// `confidence` of `certified`, but for the chance of so many repetitions.
    pub fn repeated(
        &self,
        path: &Path,
        bad: &[Option<usize>],
        repetitions: u32,
        seed: u64,
    ) -> Repeated {
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
            let drawn: Vec<Option<usize>> = (0..bad.len())
                .filter_map(|_| bad.get(random.random_range(0..bad.len())).copied())
                .collect();
            if let Some(chosen) = self.loosest(path, &drawn) {
                found.certified += 1;
                found.kept += u32::from(all.accepted(chosen.step) as f64 <= allowed);
            }
        }
        found
    }
}

/// The first accepting steps in ascending order.
struct Ordered {
    first: Vec<usize>,
    trials: u64,
}

impl Ordered {
    fn new(first: &[Option<usize>]) -> Self {
        let trials = first.len() as u64;
        let mut first: Vec<usize> = first.iter().copied().flatten().collect();
        first.sort_unstable();
        Self { first, trials }
    }

    /// Candidates that a step accepts.
    fn accepted(&self, step: usize) -> u64 {
        self.first.partition_point(|&first| first <= step) as u64
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

    fn firsts(path: &Path, scores: impl IntoIterator<Item = f64>) -> Vec<Option<usize>> {
        scores
            .into_iter()
            .map(|score| path.first(&[score]))
            .collect()
    }

    /// Candidates of two gates, good or bad; a good one scores higher in both, on average.
    fn candidates(random: &mut ChaCha8Rng, count: usize, good: bool) -> Vec<Vec<f64>> {
        let mut score = || {
            let uniform = random.random::<f64>();
            if good {
                uniform.sqrt()
            } else {
                uniform.powi(2)
            }
        };
        (0..count).map(|_| vec![score(), score()]).collect()
    }

    /// The truth is counted on 20,000 other bad candidates. Over 200 calibrations the promise may be broken in 1 of 10, give or
    /// take three deviations of that count.
    #[test]
    fn a_cascade_keeps_the_promise_at_its_rate_over_200_calibrations() {
        let truth = candidates(&mut ChaCha8Rng::seed_from_u64(1_000), 20_000, false);
        let (mut broken, mut share) = (0, 0.0);
        for seed in 0..200 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let good = candidates(&mut random, 100, true);
            let path = Path::new(&good, &[[0.0, 1.0]; 2]);
            let bad = candidates(&mut random, 120, false);
            let bad: Vec<_> = bad.iter().map(|scores| path.first(scores)).collect();
            let found = PROMISE.loosest(&path, &bad).unwrap();
            let accepted = truth
                .iter()
                .filter(|scores| path.first(scores).is_some_and(|first| first <= found.step));
            let accepted = accepted.count() as f64 / truth.len() as f64;
            broken += u32::from(accepted > PROMISE.max_bad_accepts);
            share += accepted / 200.0;
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
        let path = Path::new(&[], &UNIT_RANGE);
        let bad = firsts(&path, (0..200).map(|i| f64::from((i % 40).max(20)) / 40.0));
        let found = PROMISE.repeated(&path, &bad, 200, 1);
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
        assert_eq!(found, PROMISE.repeated(&path, &bad, 200, 1));
        let none = PROMISE.repeated(&path, &bad[..10], 200, 1);
        assert_eq!((none.certified, none.kept), (0, 0));
        assert_eq!(PROMISE.repeated(&path, &[], 200, 1).certified, 0);
    }

    #[test]
    fn too_few_bad_candidates_certify_nothing() {
        let few = PROMISE.fewest_bad();
        assert_eq!(few, 22);
        let path = Path::new(&[], &UNIT_RANGE);
        let bad = vec![None; few as usize];
        assert!(PROMISE.loosest(&path, &bad).is_some());
        assert!(PROMISE.loosest(&path, &bad[1..]).is_none());
        assert!(PROMISE.loosest(&path, &[]).is_none());
    }

    #[test]
    fn the_bound_lies_within_the_promise_and_a_missing_score_counts_against_it() {
        let path = Path::new(&[], &UNIT_RANGE);
        let scores: Vec<f64> = (0..300).map(|i| f64::from(i) / 300.0).collect();
        let found = PROMISE
            .loosest(&path, &firsts(&path, scores.iter().copied()))
            .unwrap();
        assert!(found.bound <= PROMISE.max_bad_accepts, "{found:?}");
        let [min] = path.thresholds(found.step) else {
            panic!("one gate has one threshold");
        };
        assert_eq!(
            found.bad_accepted,
            scores.iter().filter(|score| *score >= min).count() as u64
        );
        let missing = firsts(&path, [f64::NAN; 300]);
        assert!(PROMISE.loosest(&path, &missing).is_none());
    }

    #[test]
    fn a_path_loses_as_many_good_candidates_at_each_gate_and_at_last_none() {
        let good: Vec<Vec<f64>> = (0..10)
            .map(|i| vec![f64::from(i) / 10.0, 50.0 - f64::from(i)])
            .collect();
        let path = Path::new(&good, &[[0.0, 1.0], [0.0, 100.0]]);
        assert_eq!(path.thresholds(0), [0.9, 50.0]);
        assert_eq!(path.thresholds(9), [0.0, 41.0]);
        assert!(path.thresholds(10).is_empty());
        // What is best at one gate is worst at the other.
        assert_eq!(path.first(&good[9]), Some(9));
        assert_eq!(path.first(&good[5]), Some(5));
        assert_eq!(path.first(&[0.9, 40.0]), None);
    }

    #[test]
    fn good_candidates_that_lie_apart_cost_nothing() {
        let good = vec![vec![0.8]; 40];
        let path = Path::new(&good, &UNIT_RANGE);
        let bad = firsts(&path, (0..80).map(|i| f64::from(i) / 200.0));
        let found = PROMISE.loosest(&path, &bad).unwrap();
        assert_eq!(
            (path.thresholds(found.step), found.bad_accepted),
            (&[0.8][..], 0)
        );
    }
}
