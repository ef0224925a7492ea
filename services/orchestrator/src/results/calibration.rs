//! What a calibration found, as `calibration.json` holds it.

use std::collections::BTreeMap;

use saga_statistics::threshold::{Promise, Repeated};
use serde::{Deserialize, Serialize};

use crate::recipe::Gate;

/// What the promise rests on, and what it is of; `repeated` people are in several of the calibration images.
pub(crate) fn assumption(repeated: usize) -> String {
    let independence = match repeated {
        0 => String::new(),
        1 => " One person is in several calibration images, which resemble each other: the bound rests on fewer independent candidates than are counted, and may be somewhat too low.".to_owned(),
        people => format!(
            " {people} people are in several calibration images each, which resemble each other: the bound rests on fewer independent candidates than are counted, and may be somewhat too low."
        ),
    };
    format!(
        "What is bounded is the share of bad candidates that pass, not the share of bad ones among those accepted. The bad candidates that come are drawn like those of the calibration, independently of each other.{independence} The promise holds for the calibrated gates together and for each class by itself, and as long as the models stay the same."
    )
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The run whose gates and models are calibrated.
    pub run_id: String,
    /// What the thresholds of a class keep together.
    pub promise: Promise,
    /// What it rests on, in words.
    pub assumption: String,
    /// The bad candidates that it rests on; empty: none are known, and all thresholds stay.
    pub bad: String,
    /// Names of the gates that are calibrated, in the order of the cascade; the others stay as they are.
    pub gates: Vec<String>,
    /// By label.
    pub classes: BTreeMap<String, ClassThresholds>,
    /// The recipe's `[[gates]]` with the thresholds chosen.
    pub gates_toml: String,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassThresholds {
    /// Candidates judged.
    pub judged: Counts,
    /// Those of them that the calibrated gates accept with the recipe's own thresholds.
    pub before: Counts,
    /// The thresholds that keep the promise; `None` where there are too few bad candidates or too many among the best scores:
    /// the recipe's own stay.
    pub chosen: Option<Chosen>,
    /// How often the promise was kept when the choice was repeated on candidates drawn from the same bad ones.
    pub repeated: Repeated,
}

/// Thresholds that keep the promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Smallest accepted score, by gate.
    pub min: BTreeMap<String, f64>,
    /// Candidates that all calibrated gates accept.
    pub accepted: Counts,
    /// Upper bound on the share of bad candidates accepted, at the promise's confidence.
    pub bound: f64,
}

/// Candidates whose truth is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub bad: u64,
    pub good: u64,
}

/// As a recipe has it.
#[derive(Serialize)]
struct Gates {
    gates: Vec<Gate>,
}

impl Calibration {
    /// These gates with the chosen thresholds, as a recipe has them.
    pub(crate) fn toml(&self, gates: &[Gate]) -> Result<String, toml::ser::Error> {
        toml::to_string(&Gates {
            gates: self.apply(gates),
        })
    }

    /// These gates with the chosen thresholds; the others stay.
    pub fn apply(&self, gates: &[Gate]) -> Vec<Gate> {
        let mut gates = gates.to_vec();
        for (label, class) in &self.classes {
            for gate in &mut gates {
                let chosen = class.chosen.as_ref();
                if let Some(&min) = chosen.and_then(|chosen| chosen.min.get(&gate.name)) {
                    let own = gate.per_class.entry(label.clone()).or_default();
                    own.min = Some(min);
                }
            }
        }
        gates
    }

    /// Classes whose thresholds keep the promise.
    pub fn certified(&self) -> usize {
        let classes = self.classes.values();
        classes.filter(|class| class.chosen.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_assumption_tells_of_people_with_several_images_where_there_are_any() {
        let bounded =
            "the share of bad candidates that pass, not the share of bad ones among those accepted";
        for repeated in 0..3 {
            let said = assumption(repeated);
            assert!(said.contains(bounded), "{said}");
            assert_eq!(said.contains("several"), repeated > 0, "{said}");
        }
        assert!(assumption(2).contains(" 2 people are"));
    }
}
