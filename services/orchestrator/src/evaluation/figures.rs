//! What an evaluation found, as `eval.json` holds it. Shares and their differences are 0 to 1 and -1 to 1.

use std::collections::BTreeMap;

use saga_statistics::{
    bootstrap::{Design, Estimate, Estimates, Right},
    expected_calibration_error, holm,
    verdict::Verdict,
};
use serde::{Deserialize, Serialize};

use super::{
    drift::Drift,
    groups::Group,
    judged::{EarlierRead, Judged},
};
use crate::{metrics::Confusion, run::judge::Answer};

/// Bins of the expected calibration error.
const CALIBRATION_BINS: usize = 15;

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The run whose images are judged; several that are judged together.
    pub runs: Vec<String>,
    /// The recipe's name.
    pub recipe: String,
    /// In label order.
    pub classes: Vec<String>,
    /// Real train images by class; of several runs the mean.
    pub train_images: BTreeMap<String, u64>,
    /// Seeds of the trainings of every arm, run by run.
    pub seeds: Vec<u64>,
    /// Optimiser steps of every training.
    pub steps: u32,
    /// What to do with the accepted images.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
    /// The test set.
    pub golden: Golden,
    /// How classes are grouped.
    pub groups: Groups,
    /// In the order they were asked for.
    pub arms: Vec<ArmFigures>,
    /// Every arm against plain, then gated against every other arm.
    pub comparisons: Vec<Comparison>,
    /// How far synthetic images lie from real ones; empty where none were accepted, and of several runs.
    pub drift: Vec<Drift>,
    /// What the figures are made of; taken out where they are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Judged>,
}

/// The test set and who saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// Images by class.
    pub images: BTreeMap<String, u64>,
    /// People that they show; an image without a named one counts as another. Intervals rest on so many.
    pub subjects: u64,
    /// Classes that show enough people for their recall to say something.
    #[serde(default)]
    pub well_sampled: Vec<String>,
    /// Whether an evaluation of this run had read it before: choices made since then may be fitted to it.
    pub read_again: bool,
    /// Every read before this one, of any run, oldest first.
    pub earlier_reads: Vec<EarlierRead>,
}

/// Classes by how common they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// In words.
    pub rule: String,
    /// Group of each class, by label.
    pub classes: BTreeMap<String, Group>,
}

/// One arm on the golden set, over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmFigures {
    /// As in a request.
    pub name: String,
    /// For people.
    pub about: String,
    /// Images beyond the real train split, by class; of several runs the mean.
    pub added: BTreeMap<String, u64>,
    /// The models, by run and seed.
    pub models: Vec<Model>,
    /// With interval.
    pub accuracy: Estimate,
    /// With interval.
    pub balanced_accuracy: Estimate,
    /// That of the well sampled classes alone, with interval.
    #[serde(default)]
    pub well_sampled: Option<Estimate>,
    /// Mean over the seeds.
    pub macro_f1: f64,
    /// By class; `None` where the golden set holds none of it.
    pub recall: BTreeMap<String, Option<Estimate>>,
    /// Mean recall of the classes of each group; absent where no class is in it.
    pub groups: BTreeMap<Group, f64>,
    /// Expected calibration error, 15 bins; mean over the seeds.
    pub calibration_error: f64,
    /// Sum over the seeds: true class (row) by predicted class (column).
    pub confusion: Confusion,
}

/// One trained model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The run it was trained for.
    pub run_id: String,
    /// Its seed.
    pub seed: u64,
    /// On the trainer's machine.
    pub directory: String,
    /// Of its weights.
    pub revision: String,
    /// On its run's golden set.
    pub balanced_accuracy: Option<f64>,
}

/// One arm minus another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Name.
    pub arm: String,
    /// Name of what it is compared with.
    pub reference: String,
    /// Difference.
    pub accuracy: Estimate,
    /// Difference.
    pub balanced_accuracy: Estimate,
    /// Difference over the well sampled classes alone.
    #[serde(default)]
    pub well_sampled: Option<Estimate>,
    /// By class, where the golden set holds any of it.
    pub recall: BTreeMap<String, RecallDifference>,
}

/// Difference in one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RecallDifference {
    /// With its own interval and p-value.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// P-value with Holm's correction over the classes.
    pub holm_p: f64,
}

/// Answers of one arm's models: `[seed][image]`.
pub(crate) type Answers = [Vec<Answer>];

/// Which of them are right.
pub(crate) fn right(answers: &Answers, truth: &[usize]) -> Vec<Vec<bool>> {
    let of_seed = |seed: &Vec<Answer>| {
        seed.iter()
            .zip(truth)
            .map(|(answer, truth)| answer.class == *truth)
            .collect()
    };
    answers.iter().map(of_seed).collect()
}

/// The difference of two arms; `None` where they cannot be paired.
pub(crate) fn comparison(
    design: &Design<'_>,
    classes: &[String],
    (arm, right): (&str, &Right),
    (reference, right_reference): (&str, &Right),
) -> Option<Comparison> {
    let found: Estimates = design.differences(right_reference, right)?;
    let present: Vec<(&String, Estimate)> = classes
        .iter()
        .zip(found.recall)
        .filter_map(|(label, estimate)| Some((label, estimate?)))
        .collect();
    let p_values: Vec<f64> = present
        .iter()
        .map(|(_, estimate)| estimate.p_value)
        .collect();
    let recall = present.into_iter().zip(holm(&p_values));
    Some(Comparison {
        arm: arm.to_owned(),
        reference: reference.to_owned(),
        accuracy: found.accuracy,
        balanced_accuracy: found.balanced_accuracy,
        well_sampled: found.well_sampled,
        recall: recall
            .map(|((label, estimate), holm_p)| {
                (label.clone(), RecallDifference { estimate, holm_p })
            })
            .collect(),
    })
}

/// Figures that follow from an arm's answers alone.
pub(crate) struct Scores {
    pub(crate) macro_f1: f64,
    pub(crate) calibration_error: f64,
    pub(crate) confusion: Confusion,
}

impl Scores {
    pub(crate) fn new(answers: &Answers, truth: &[usize], classes: usize) -> Self {
        let mut sum = Confusion::new(classes);
        let (mut macro_f1, mut calibration_error) = (0.0, 0.0);
        for seed in answers {
            let mut confusion = Confusion::new(classes);
            let pairs = || seed.iter().zip(truth);
            for (answer, truth) in pairs() {
                confusion.add(*truth, answer.class);
                sum.add(*truth, answer.class);
            }
            let sure: Vec<(f64, bool)> = pairs()
                .map(|(answer, truth)| (answer.probability, answer.class == *truth))
                .collect();
            let error = expected_calibration_error(&sure, CALIBRATION_BINS);
            calibration_error += error.unwrap_or(0.0) / answers.len() as f64;
            macro_f1 += confusion.macro_f1().unwrap_or(0.0) / answers.len() as f64;
        }
        Self {
            macro_f1,
            calibration_error,
            confusion: sum,
        }
    }
}
