//! What a calibration found, as `calibration.json` holds it.

use std::collections::BTreeMap;

use saga_statistics::threshold::{Certified, Promise, Repeated};
use serde::{Deserialize, Serialize};

use crate::{
    recipe::Gate,
    run::{RunContext, RunError},
};

/// What the promise rests on.
const ASSUMPTION: &str = "The bad candidates that come are drawn like those of the calibration, independently of each other. The promise holds for each gate and class by itself, about the kind of bad candidate that the gate was calibrated on, and as long as the models stay the same.";

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The run whose gates and models are calibrated.
    pub run_id: String,
    /// What each threshold keeps.
    pub promise: Promise,
    /// What it rests on, in words.
    pub assumption: String,
    /// In the order of the cascade.
    pub gates: Vec<GateThresholds>,
    /// The recipe's `[[gates]]` with the thresholds chosen.
    pub gates_toml: String,
}

/// One gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateThresholds {
    /// Its name in the recipe.
    pub gate: String,
    /// The bad candidates it was calibrated on; empty: none are known, its thresholds stay.
    pub bad: String,
    /// By class.
    pub classes: BTreeMap<String, ClassThreshold>,
}

impl GateThresholds {
    /// A gate for which no bad candidates are known.
    pub(super) fn unknown(gate: &Gate) -> Self {
        Self {
            gate: gate.name.clone(),
            bad: String::new(),
            classes: BTreeMap::new(),
        }
    }
}

/// One class of one gate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassThreshold {
    /// Bad candidates judged.
    pub bad: u64,
    /// Good candidates judged.
    pub good: u64,
    /// The recipe's own `min`, and what it accepts of both.
    pub before: Option<Accepts>,
    /// The threshold that keeps the promise; `None` where there are too few bad candidates or too many good scores among them:
    /// the recipe's own stays.
    pub certified: Option<Certified>,
    /// Good candidates that the certified threshold accepts.
    pub good_accepted: Option<u64>,
    /// How often the promise was kept when the choice was repeated on candidates drawn from the same bad ones.
    pub repeated: Repeated,
}

/// What a threshold accepts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Accepts {
    /// Smallest accepted score.
    pub min: f64,
    /// Bad candidates accepted.
    pub bad: u64,
    /// Good candidates accepted.
    pub good: u64,
}

impl ClassThreshold {
    pub(super) fn new(
        bad: &[f64],
        good: &[f64],
        before: Option<f64>,
        certified: Option<Certified>,
        repeated: Repeated,
    ) -> Self {
        let accepted =
            |scores: &[f64], min: f64| scores.iter().filter(|&&score| score >= min).count() as u64;
        Self {
            bad: bad.len() as u64,
            good: good.len() as u64,
            before: before.map(|min| Accepts {
                min,
                bad: accepted(bad, min),
                good: accepted(good, min),
            }),
            certified,
            good_accepted: certified.map(|certified| accepted(good, certified.min)),
            repeated,
        }
    }
}

/// As a recipe has it.
#[derive(Serialize)]
struct Gates {
    gates: Vec<Gate>,
}

impl Calibration {
    pub(super) fn new(
        context: &RunContext,
        promise: Promise,
        gates: Vec<GateThresholds>,
    ) -> Result<Self, RunError> {
        let mut found = Self {
            run_id: context.run_id.clone(),
            promise,
            assumption: ASSUMPTION.into(),
            gates,
            gates_toml: String::new(),
        };
        let chosen = Gates {
            gates: found.apply(&context.recipe.gates),
        };
        found.gates_toml = toml::to_string(&chosen).map_err(|error| {
            RunError::Data(format!("the gates cannot be written as TOML: {error}"))
        })?;
        Ok(found)
    }

    /// These gates with the certified thresholds; the others stay.
    pub fn apply(&self, gates: &[Gate]) -> Vec<Gate> {
        let mut chosen = gates.to_vec();
        for (gate, found) in chosen.iter_mut().zip(&self.gates) {
            for (label, class) in &found.classes {
                let Some(certified) = class.certified else {
                    continue;
                };
                let own = gate.per_class.entry(label.clone()).or_default();
                own.min = Some(certified.min);
            }
        }
        chosen
    }

    /// Thresholds that keep the promise, and all that were looked for.
    pub fn certified(&self) -> (usize, usize) {
        let classes = || self.gates.iter().flat_map(|gate| gate.classes.values());
        let certified = classes().filter(|class| class.certified.is_some());
        (certified.count(), classes().count())
    }
}
