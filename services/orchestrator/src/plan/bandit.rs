//! Thompson sampling: attempts go to the arms that are likely to get most accepted for their cost.
//!
//! Each arm's acceptance rate has a Beta posterior (uniform before its first candidate); a rate drawn from it, divided by
//! the arm's mean cost, is what the arm is worth to one attempt (Thompson 1933; Chapelle and Li, NeurIPS 2011). An arm that
//! is little known draws widely and so is tried; one that is known to be poor is left alone.

use rand::SeedableRng as _;
use rand_distr::{Beta, Distribution as _};

/// US dollars that a candidate costs at least: a few seconds of one's own machine are not for nothing.
const LEAST_COST: f64 = 1e-3;

/// Candidates of one source class for one target class, asked for with one text at one backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arm {
    /// Class of the source image.
    pub source: String,
    /// Class that is asked for.
    pub target: String,
    /// The prompt's text before style and axes.
    pub text: String,
    /// The generator's backend.
    pub backend: String,
}

/// What an arm came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Attempts that ended, whatever way.
    pub attempts: u64,
    /// Those that were admitted.
    pub accepted: u64,
    /// Spent on all of them, in US dollars.
    pub cost_usd: f64,
}

impl Tally {
    /// Counts the other's attempts, too.
    pub fn add(&mut self, other: Tally) {
        self.attempts += other.attempts;
        self.accepted += other.accepted;
        self.cost_usd += other.cost_usd;
    }

    /// Mean cost of an attempt in US dollars; the backend's announced price counts as one attempt.
    pub fn mean_cost(&self, price: f64) -> f64 {
        let mean = (price + self.cost_usd) / (1 + self.attempts) as f64;
        // Not `f64::max`: that would take NaN for the least cost.
        if mean > LEAST_COST { mean } else { LEAST_COST }
    }
}

/// An acceptance rate, 0 to 1, drawn from what is known of an arm. The same seed gives the same draw, and each arm its own,
/// whatever other arms there are.
pub fn draw(arm: &Arm, tally: Tally, seed: u64) -> f64 {
    let rejected = tally.attempts.saturating_sub(tally.accepted);
    let (a, b) = ((1 + tally.accepted) as f64, (1 + rejected) as f64);
    let mut random = rand_chacha::ChaCha8Rng::from_seed(stream(arm, seed));
    // Both parameters are at least 1, so there always is such a distribution.
    Beta::new(a, b).map_or(a / (a + b), |posterior| posterior.sample(&mut random))
}

/// The seed of an arm's own stream of random numbers.
fn stream(arm: &Arm, seed: u64) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    hash.update(&seed.to_le_bytes());
    for part in [&arm.source, &arm.target, &arm.text, &arm.backend] {
        hash.update(&(part.len() as u64).to_le_bytes())
            .update(part.as_bytes());
    }
    *hash.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(source: &str) -> Arm {
        Arm {
            source: source.into(),
            target: "fear".into(),
            text: "a fearful face".into(),
            backend: "studio".into(),
        }
    }

    fn tally(attempts: u64, accepted: u64, cost_usd: f64) -> Tally {
        Tally {
            attempts,
            accepted,
            cost_usd,
        }
    }

    #[test]
    fn draws_are_those_of_the_posterior() {
        // Mean and variance of Beta(31, 71).
        let draws: Vec<f64> = (0..4_000)
            .map(|seed| draw(&arm("sad"), tally(100, 30, 0.0), seed))
            .collect();
        let mean = draws.iter().sum::<f64>() / 4_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4_000.0;
        assert!((mean - 31.0 / 102.0).abs() < 0.003, "{mean}");
        let expected = 31.0 * 71.0 / (102.0 * 102.0 * 103.0);
        assert!((variance / expected - 1.0).abs() < 0.1, "{variance}");
    }

    #[test]
    fn an_arm_draws_the_same_for_a_seed_and_apart_from_other_arms() {
        let draw = |source, seed| draw(&arm(source), tally(3, 1, 0.1), seed);
        assert_eq!(draw("sad", 7), draw("sad", 7));
        assert_ne!(draw("sad", 7), draw("sad", 8));
        assert_ne!(draw("sad", 7), draw("happy", 7));
    }

    #[test]
    fn the_announced_price_gives_way_to_what_was_paid() {
        assert_eq!(Tally::default().mean_cost(0.04), 0.04);
        assert!((tally(99, 0, 9.9).mean_cost(0.0) - 0.099).abs() < 1e-12);
        for price in [0.0, -1.0, f64::NAN] {
            assert_eq!(Tally::default().mean_cost(price), LEAST_COST);
        }
    }
}
