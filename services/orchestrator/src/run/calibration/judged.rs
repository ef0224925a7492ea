//! The gates that are calibrated, each asked by itself: a cascade would end at the first rejection, and every score counts here.

use saga_client::Priority;
use saga_proto::{
    gate::v1::{DescribeResponse, ThresholdSpec},
    guard::v1::Candidate,
};

use super::{
    super::{RunContext, RunError},
    offers::Bad,
};
use crate::{guard::Guard, recipe::Gate};

/// One gate of the cascade.
pub(super) struct JudgedGate {
    gate: Gate,
    guard: Guard,
    described: DescribeResponse,
}

/// What the calibrated gates said of a candidate.
pub(super) struct Verdicts {
    /// Index of the target class.
    pub(super) class: usize,
    /// Whether the cascade should reject it.
    pub(super) bad: bool,
    /// By gate; not a number where a gate gave none.
    pub(super) scores: Vec<f64>,
}

impl Verdicts {
    /// The scores, but minus infinity where one is above `max`: that is rejected whatever `min` is. `bounds` are `min` and
    /// `max` of each gate.
    pub(super) fn below_max(&self, bounds: &[[f64; 2]]) -> Vec<f64> {
        let scores = self.scores.iter().zip(bounds);
        let below = |(&score, [_, max]): (&f64, &[f64; 2])| match score > *max {
            true => f64::NEG_INFINITY,
            false => score,
        };
        scores.map(below).collect()
    }

    /// Whether every gate accepts it.
    pub(super) fn are_within(&self, bounds: &[[f64; 2]]) -> bool {
        let mut scores = self.scores.iter().zip(bounds);
        scores.all(|(score, [min, max])| (min..=max).contains(&score))
    }
}

/// The gates that have a `min` and can tell such bad candidates from good ones.
pub(super) async fn gates(context: &RunContext, bad: Bad) -> Result<Vec<JudgedGate>, RunError> {
    let mut judged = Vec::with_capacity(context.recipe.gates.len());
    for gate in &context.recipe.gates {
        let guard = context.with_gates(vec![gate.clone()])?.guard;
        let described = guard.describe().await?.into_iter().next();
        let (_, described) = described.unwrap_or_default();
        let gate = JudgedGate {
            gate: gate.clone(),
            guard,
            described,
        };
        if gate.bound("min").is_some() && bad.shows_to(&gate.described) {
            judged.push(gate);
        }
    }
    Ok(judged)
}

impl JudgedGate {
    pub(super) fn name(&self) -> &str {
        &self.gate.name
    }

    /// The gate's score of a candidate.
    pub(super) async fn score(&self, candidate: &Candidate) -> Result<f64, RunError> {
        let decision = self.guard.check(candidate, Priority::Low).await?;
        let verdict = decision.verdicts.first();
        Ok(verdict.map_or(f64::NAN, |verdict| verdict.score))
    }

    /// Lowest and highest `min` that the gate takes for a class: none is above `max`.
    pub(super) fn range(&self, label: &str) -> [f64; 2] {
        let [_, max] = self.bounds(label);
        self.bound("min")
            .map_or([0.0, 1.0], |spec| [spec.lowest, spec.highest.min(max)])
    }

    /// `min` and `max` in force for a class before the calibration.
    pub(super) fn bounds(&self, label: &str) -> [f64; 2] {
        let own = self.gate.thresholds_for(label);
        let in_force = |name: &str, none: f64| {
            let default = self.bound(name).map_or(none, |spec| spec.default_value);
            own.get(name).copied().unwrap_or(default)
        };
        [
            in_force("min", f64::NEG_INFINITY),
            in_force("max", f64::INFINITY),
        ]
    }

    fn bound(&self, name: &str) -> Option<&ThresholdSpec> {
        let mut thresholds = self.described.thresholds.iter();
        thresholds.find(|spec| spec.name == name)
    }
}
