//! What a run found, as `results.json` holds it.

mod arms;
pub mod calibration;
mod memorisation;

use std::collections::BTreeMap;

use saga_proto::{
    generator::v1::Fault,
    labelstore::v1::{ClassCounts, FaultCounts, GetFunnelResponse},
};
use serde::{Deserialize, Serialize};

pub use arms::ArmResult;
pub use calibration::Calibration;
pub use memorisation::{Memorisation, Nearest};

use crate::{metrics::Confusion, plan::PlannedClass, recipe::Gate};

/// The results of a finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The run.
    pub run_id: String,
    /// Name of the recipe.
    pub recipe: String,
    /// The run's seed.
    pub seed: u64,
    /// The generator's backends.
    pub generator: String,
    /// Whether the plan was cut down to a trial.
    pub test_mode: bool,
    /// Class names in label order; every list by class follows it.
    pub classes: Vec<String>,
    /// Real images.
    pub dataset: Dataset,
    /// The sealed test set.
    pub golden: Golden,
    /// The model trained on real images alone; it also was the confidence gate.
    pub baseline: ModelResult,
    /// The model trained anew on real and accepted images, with the same steps.
    pub augmented: ModelResult,
    /// Augmented minus baseline.
    pub delta: Delta,
    /// What became of the candidates.
    pub candidates: Candidates,
    /// What each arm came to.
    #[serde(default)]
    pub arms: Vec<ArmResult>,
    /// The guard against the truth.
    pub guard: GuardTruth,
    /// How near the local diffusion model's candidates came to its training images; `None` without such candidates.
    #[serde(default)]
    pub memorisation: Option<Memorisation>,
    /// Real, cap and planned images of each class.
    pub plan: Vec<PlannedClass>,
    /// SHA-256 of the prompt table.
    pub prompt_version: String,
    /// The cascade with its thresholds.
    pub gates: Vec<Gate>,
    /// How their thresholds were chosen; `None` where they are the recipe's.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// First 16 hexadecimal digits of the BLAKE3 of the weights, by model.
    pub model_revisions: BTreeMap<String, String>,
    /// Duration of each stage, over all attempts at the run that completed it.
    pub seconds: BTreeMap<String, f64>,
}

/// Real images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Images by class.
    pub counts: BTreeMap<String, u32>,
    /// Images by class and split.
    pub splits: BTreeMap<String, SplitCounts>,
}

/// Real images of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the splits")]
pub struct SplitCounts {
    pub train: u32,
    pub val: u32,
    pub calibration: u32,
    pub golden: u32,
}

impl Dataset {
    /// From the label store's counts.
    pub fn new(classes: &[ClassCounts]) -> Self {
        let split = |c: &ClassCounts| SplitCounts {
            train: c.train,
            val: c.val,
            calibration: c.calibration,
            golden: c.golden,
        };
        Self {
            counts: classes.iter().map(|c| (c.label.clone(), c.total)).collect(),
            splits: classes
                .iter()
                .map(|c| (c.label.clone(), split(c)))
                .collect(),
        }
    }
}

/// The sealed test set, as it was judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// Judged images by class.
    pub counts: BTreeMap<String, u64>,
}

/// One model on the golden set. Figures are `None` where the set holds nothing to compute them from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelResult {
    /// Share of images that are right.
    pub accuracy: Option<f64>,
    /// Mean recall of the classes.
    pub balanced_accuracy: Option<f64>,
    /// Mean F1 of the classes.
    pub macro_f1: Option<f64>,
    /// Recall by class.
    pub per_class_recall: BTreeMap<String, Option<f64>>,
    /// True class (row) by predicted class (column).
    pub confusion: Confusion,
}

impl ModelResult {
    /// From a confusion matrix.
    pub fn new(classes: &[String], confusion: Confusion) -> Self {
        Self {
            accuracy: confusion.accuracy(),
            balanced_accuracy: confusion.balanced_accuracy(),
            macro_f1: confusion.macro_f1(),
            per_class_recall: classes.iter().cloned().zip(confusion.recall()).collect(),
            confusion,
        }
    }
}

/// Augmented minus baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Difference in accuracy.
    pub accuracy: Option<f64>,
    /// Difference in balanced accuracy.
    pub balanced_accuracy: Option<f64>,
    /// 95 % interval of the difference in balanced accuracy: paired bootstrap of people and images, stratified by class.
    pub balanced_accuracy_interval: Option<[f64; 2]>,
    /// Difference in macro F1.
    pub macro_f1: Option<f64>,
    /// Difference in recall by class.
    pub per_class_recall: BTreeMap<String, Option<f64>>,
}

impl Delta {
    /// The difference of two results on the same images.
    pub fn new(
        baseline: &ModelResult,
        augmented: &ModelResult,
        interval: Option<[f64; 2]>,
    ) -> Self {
        let minus = |after: Option<f64>, before: Option<f64>| Some(after? - before?);
        let recall = augmented.per_class_recall.iter().map(|(label, after)| {
            let before = baseline.per_class_recall.get(label).copied().flatten();
            (label.clone(), minus(*after, before))
        });
        Self {
            accuracy: minus(augmented.accuracy, baseline.accuracy),
            balanced_accuracy: minus(augmented.balanced_accuracy, baseline.balanced_accuracy),
            balanced_accuracy_interval: interval,
            macro_f1: minus(augmented.macro_f1, baseline.macro_f1),
            per_class_recall: recall.collect(),
        }
    }
}

/// What became of the candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidates {
    /// Slots planned.
    pub planned: u64,
    /// Answers with an image.
    pub generated: u64,
    /// Images admitted.
    pub accepted: u64,
    /// Slots that used up all their tries.
    pub exhausted: u64,
    /// Slots left open where generation stopped early.
    pub open: u64,
    /// Rejections by gate; "generator:OUTCOME", "duplicate" and "cap" beside them.
    pub rejected_by: BTreeMap<String, u64>,
    /// Attempts that ended in an error.
    pub errors: u64,
    /// The same by message.
    pub errors_by_message: BTreeMap<String, u64>,
    /// Images admitted by class.
    pub accepted_by_class: BTreeMap<String, u32>,
    /// What the generator asked for them, in US dollars.
    pub cost_usd: f64,
}

impl Candidates {
    /// From the label store's funnel.
    pub fn new(funnel: &GetFunnelResponse) -> Self {
        let sum = |count: fn(&saga_proto::labelstore::v1::TargetFunnel) -> u32| {
            funnel.targets.iter().map(|t| u64::from(count(t))).sum()
        };
        Self {
            planned: sum(|t| t.planned),
            generated: funnel.generated,
            accepted: funnel.accepted,
            exhausted: sum(|t| t.exhausted),
            open: sum(|t| t.open),
            rejected_by: funnel.rejected_by.clone().into_iter().collect(),
            errors: funnel.errors.values().sum(),
            errors_by_message: funnel.errors.clone().into_iter().collect(),
            accepted_by_class: funnel
                .targets
                .iter()
                .map(|t| (t.label.clone(), t.accepted))
                .collect(),
            cost_usd: funnel.cost_usd,
        }
    }
}

/// The gates' verdicts against the generator's knowledge of its own faults; `None` where no generator told the truth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardTruth {
    /// Candidates with a fault of expression, identity, structure or sharpness.
    pub bad_planted: Option<u64>,
    /// Those of them that passed all gates.
    pub bad_accepted: Option<u64>,
    /// Good edits.
    pub good: Option<u64>,
    /// Those of them that passed all gates.
    pub good_accepted: Option<u64>,
    /// Counts of each kind of fault, near-duplicates included: those are the store's to find, not the gates'.
    pub by_fault: BTreeMap<String, FaultResult>,
}

/// Candidates of one kind of fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultResult {
    /// Made.
    pub generated: u64,
    /// Passed all gates.
    pub passed_gates: u64,
    /// Admitted by the store.
    pub admitted: u64,
}

impl GuardTruth {
    /// From the funnel's counts.
    pub fn new(faults: &[FaultCounts]) -> Self {
        let known: Vec<&FaultCounts> = faults
            .iter()
            .filter(|counts| counts.fault() != Fault::Unspecified)
            .collect();
        if known.is_empty() {
            return Self::default();
        }
        let total = |bad: bool, count: fn(&FaultCounts) -> u64| {
            let of_kind = known
                .iter()
                .filter(|counts| is_bad(counts.fault()) == Some(bad));
            Some(of_kind.map(|counts| count(counts)).sum())
        };
        Self {
            bad_planted: total(true, |counts| counts.generated),
            bad_accepted: total(true, |counts| counts.passed_gates),
            good: total(false, |counts| counts.generated),
            good_accepted: total(false, |counts| counts.passed_gates),
            by_fault: known
                .iter()
                .map(|counts| (fault_name(counts.fault()), FaultResult::new(counts)))
                .collect(),
        }
    }
}

impl FaultResult {
    fn new(counts: &FaultCounts) -> Self {
        Self {
            generated: counts.generated,
            passed_gates: counts.passed_gates,
            admitted: counts.admitted,
        }
    }
}

/// Whether the gates should reject; `None` where it is not theirs to judge.
pub(crate) fn is_bad(fault: Fault) -> Option<bool> {
    match fault {
        Fault::None => Some(false),
        Fault::WrongExpression
        | Fault::OtherIdentity
        | Fault::Unchanged
        | Fault::Blurred
        | Fault::TwoFaces => Some(true),
        Fault::NearDuplicate | Fault::Unspecified => None,
    }
}

/// "wrong_expression" and the like.
fn fault_name(fault: Fault) -> String {
    fault
        .as_str_name()
        .trim_start_matches("FAULT_")
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(fault: Fault, generated: u64, passed_gates: u64) -> FaultCounts {
        FaultCounts {
            fault: fault.into(),
            generated,
            passed_gates,
            admitted: 0,
        }
    }

    #[test]
    fn near_duplicates_are_listed_but_not_held_against_the_gates() {
        let faults = [
            counts(Fault::None, 80, 70),
            counts(Fault::Blurred, 10, 1),
            counts(Fault::TwoFaces, 5, 0),
            counts(Fault::NearDuplicate, 4, 4),
        ];
        let guard = GuardTruth::new(&faults);
        assert_eq!(
            (
                guard.bad_planted,
                guard.bad_accepted,
                guard.good,
                guard.good_accepted
            ),
            (Some(15), Some(1), Some(80), Some(70))
        );
        assert_eq!(guard.by_fault["near_duplicate"].passed_gates, 4);
    }

    #[test]
    fn without_the_truth_there_is_no_verdict_on_the_guard() {
        let unknown = GuardTruth::default();
        assert_eq!(unknown.bad_planted, None);
        assert_eq!(GuardTruth::new(&[]), unknown);
        assert_eq!(
            GuardTruth::new(&[counts(Fault::Unspecified, 3, 1)]),
            unknown
        );
    }

    #[test]
    fn a_difference_is_unknown_where_one_side_is() {
        let classes = ["a".to_owned(), "b".to_owned()];
        let mut confusion = Confusion::new(2);
        confusion.add(0, 0);
        let known = ModelResult::new(&classes, confusion);
        let delta = Delta::new(&known, &known, None);
        assert_eq!(delta.accuracy, Some(0.0));
        assert_eq!(delta.per_class_recall["b"], None);
    }
}
