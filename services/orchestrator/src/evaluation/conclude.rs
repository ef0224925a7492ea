//! From answers to figures, comparisons and the verdict.

use std::collections::{BTreeMap, BTreeSet};

use saga_statistics::{
    bootstrap::{Design, Estimate, Estimates},
    verdict::{self, Evidence},
};

use super::{
    arm::{Arm, Correction},
    drift::Drift,
    figures::{self, Answers, ArmFigures, Comparison, Evaluation, Golden, Groups, Model, Scores},
    groups::{Group, RULE},
    judged::{Judged, JudgedArm, JudgedModel},
    together::{MismatchError, Together},
};
use crate::metrics::Confusion;

/// Bootstrap resamples.
const RESAMPLES: u32 = 5_000;
/// Level of the tests of classes, after Holm's correction.
const LEVEL: f64 = 0.05;

/// An arm's name, and which answers of its models are right.
type Named = (String, Vec<Vec<bool>>);

/// Everything that is said about the images of one run, or of several on one data set, each judged on a golden set of its own. An arm
/// that not all of them trained is left out. Takes seconds of computing.
///
/// # Errors
/// Runs that cannot be judged together.
pub fn conclude(runs: &[Judged], drift: Vec<Drift>) -> Result<Evaluation, MismatchError> {
    let together = Together::new(runs)?;
    let first = runs.first().ok_or(MismatchError::Empty)?;
    let (classes, truth) = (&first.classes, &together.truth);
    let seeds: Vec<u64> = runs.iter().flat_map(|run| run.seeds.clone()).collect();
    let design = Design {
        truth,
        subjects: &together.subjects,
        splits: &together.splits,
        classes: classes.len(),
        resamples: RESAMPLES,
        seed: seeds.first().copied().unwrap_or(0),
    };
    let train_images = mean_by_class(runs.iter().map(|run| &run.train_images));
    let groups: Vec<Group> = train_images
        .iter()
        .map(|&images| Group::of(images as usize))
        .collect();
    let of_all = together.arms()?;
    let mut arms = Vec::with_capacity(of_all.len());
    let mut right = Vec::with_capacity(of_all.len());
    for arm in of_all {
        let answers = Together::answers(&arm);
        let of_arm = figures::right(&answers, truth);
        let shares = design.shares(&of_arm).ok_or(MismatchError::Empty)?;
        let figures = arm_figures(&arm, runs, (&answers, shares), &design, classes, &groups);
        right.push((figures.name.clone(), of_arm));
        arms.push(figures);
    }
    let comparisons = comparisons(&design, classes, &right);
    let (verdict, reason) = decide(seeds.len(), &comparisons);
    let reason = format!("{reason}; {}", budget(first.steps));
    let images = |class| truth.iter().filter(|&&truth| truth == class).count() as u64;
    Ok(Evaluation {
        runs: runs.iter().map(|run| run.run_id.clone()).collect(),
        recipe: first.recipe.clone(),
        train_images: by_label(classes, train_images),
        seeds,
        steps: first.steps,
        verdict,
        reason,
        golden: Golden {
            images: by_label(classes, (0..classes.len()).map(images)),
            subjects: together.subjects.iter().collect::<BTreeSet<_>>().len() as u64,
            well_sampled: classes
                .iter()
                .zip(design.well_sampled())
                .filter(|(_, is_well_sampled)| *is_well_sampled)
                .map(|(label, _)| label.clone())
                .collect(),
            read_again: runs.iter().any(|run| run.read_again),
            earlier_reads: runs
                .iter()
                .flat_map(|run| run.earlier_reads.clone())
                .collect(),
        },
        groups: Groups {
            rule: RULE.into(),
            classes: by_label(classes, groups),
        },
        arms,
        comparisons,
        drift,
        classes: classes.clone(),
        answers: None,
    })
}

/// Rounded means over the runs.
fn mean_by_class<'a>(runs: impl ExactSizeIterator<Item = &'a Vec<u64>>) -> Vec<u64> {
    let count = runs.len().max(1) as u64;
    let mut sums = Vec::new();
    for run in runs {
        sums.resize(run.len(), 0);
        sums.iter_mut()
            .zip(run)
            .for_each(|(sum, images)| *sum += images);
    }
    sums.into_iter()
        .map(|sum| (sum + count / 2) / count)
        .collect()
}

fn by_label<T>(classes: &[String], values: impl IntoIterator<Item = T>) -> BTreeMap<String, T> {
    classes.iter().cloned().zip(values).collect()
}

fn arm_figures(
    arm: &[&JudgedArm],
    runs: &[Judged],
    (answers, shares): (&Answers, Estimates),
    design: &Design<'_>,
    classes: &[String],
    groups: &[Group],
) -> ArmFigures {
    let scores = Scores::new(answers, design.truth, classes.len());
    let models = arm.iter().zip(runs).flat_map(|(arm, run)| {
        let seeds = run.seeds.iter().zip(&arm.models);
        seeds.map(|(&seed, model)| Model {
            run_id: run.run_id.clone(),
            seed,
            directory: model.directory.clone(),
            revision: model.revision.clone(),
            balanced_accuracy: balanced_accuracy(run, model),
        })
    });
    let added = mean_by_class(arm.iter().map(|arm| &arm.added));
    let (name, about) = arm.first().map_or_else(Default::default, |arm| {
        (arm.name.clone(), arm.about.clone())
    });
    let of_group = |wanted: Group| {
        let recalls = shares
            .recall
            .iter()
            .zip(groups)
            .filter(|(_, group)| **group == wanted);
        let values: Vec<f64> = recalls
            .filter_map(|(recall, _)| Some(recall.as_ref()?.value))
            .collect();
        (!values.is_empty()).then(|| (wanted, values.iter().sum::<f64>() / values.len() as f64))
    };
    ArmFigures {
        name,
        about,
        added: by_label(classes, added),
        models: models.collect(),
        accuracy: shares.accuracy,
        balanced_accuracy: shares.balanced_accuracy,
        well_sampled: shares.well_sampled,
        macro_f1: scores.macro_f1,
        groups: Group::ALL.into_iter().filter_map(of_group).collect(),
        recall: by_label(classes, shares.recall),
        calibration_error: scores.calibration_error,
        confusion: scores.confusion,
    }
}

fn balanced_accuracy(run: &Judged, model: &JudgedModel) -> Option<f64> {
    let mut confusion = Confusion::new(run.classes.len());
    for (image, answer) in run.images.iter().zip(&model.answers) {
        confusion.add(image.truth, *answer);
    }
    confusion.balanced_accuracy()
}

/// Every arm against plain, gated against every other, and gated under a correction against what it has to beat.
fn comparisons(design: &Design<'_>, classes: &[String], right: &[Named]) -> Vec<Comparison> {
    let [plain, gated] = [Arm::PLAIN, Arm::GATED].map(|arm| arm.to_string());
    let of = |name: &str| right.iter().find(|(arm, _)| arm == name);
    let against_plain = right
        .iter()
        .filter(|(arm, _)| *arm != plain)
        .filter_map(|arm| Some((arm, of(&plain)?)));
    let of_gated = right
        .iter()
        .filter(|(arm, _)| *arm != plain && *arm != gated);
    let against_gated = of_gated.filter_map(|arm| Some((of(&gated)?, arm)));
    let of_corrected = Correction::ALL.into_iter().flat_map(|correction| {
        let gated = of(&Arm::Gated(correction).to_string());
        let controls = [Arm::Real(correction), Arm::DuplicateTail];
        controls
            .map(|control| gated.zip(of(&control.to_string())))
            .into_iter()
            .flatten()
    });
    let pair = |((arm, right), (reference, right_reference)): (&Named, &Named)| {
        figures::comparison(design, classes, (arm, right), (reference, right_reference))
    };
    against_plain
        .chain(against_gated)
        .chain(of_corrected)
        .filter_map(pair)
        .collect()
}

fn decide(trainings: usize, comparisons: &[Comparison]) -> (verdict::Verdict, String) {
    let [plain, gated, duplicate_tail, placebo] =
        [Arm::PLAIN, Arm::GATED, Arm::DuplicateTail, Arm::Placebo].map(|arm| arm.to_string());
    let of_gated = |reference: &str| between(comparisons, &gated, reference);
    let balanced =
        |reference: &str| -> Option<&Estimate> { Some(&of_gated(reference)?.balanced_accuracy) };
    let worse: Vec<String> = of_gated(&plain)
        .iter()
        .flat_map(|pair| &pair.recall)
        .filter(|(_, recall)| recall.estimate.value < 0.0 && recall.holm_p <= LEVEL)
        .map(|(label, _)| label.clone())
        .collect();
    let (verdict, reason) = verdict::decide(&Evidence {
        seeds: trainings,
        over_plain: balanced(&plain),
        over_controls: &[
            (&duplicate_tail, balanced(&duplicate_tail)),
            (&placebo, balanced(&placebo)),
        ],
        worse_classes: &worse,
    });
    (verdict, reason + &without_images(comparisons))
}

/// How much tuning each arm had.
fn budget(steps: u32) -> String {
    format!(
        "no arm was tuned: all share the recipe's settings, but for what each is there for, and the number of steps, {steps}"
    )
}

fn between<'a>(
    comparisons: &'a [Comparison],
    arm: &str,
    reference: &str,
) -> Option<&'a Comparison> {
    comparisons
        .iter()
        .find(|pair| pair.arm == arm && pair.reference == reference)
}

/// What the best correction gains without an image more, and what the images add to that; empty where none gains.
fn without_images(comparisons: &[Comparison]) -> String {
    let plain = Arm::PLAIN.to_string();
    let gain = |correction: Correction| {
        let real = Arm::Real(correction).to_string();
        let gain = &between(comparisons, &real, &plain)?.balanced_accuracy;
        gain.is_gain().then_some((correction, real, gain))
    };
    let gains = Correction::ALL.into_iter().filter_map(gain);
    let Some((correction, real, gain)) =
        gains.max_by(|(.., one), (.., other)| one.value.total_cmp(&other.value))
    else {
        return String::new();
    };
    let alone = format!(
        "; {real} changes it by {} without an image more",
        verdict::points(gain)
    );
    let gated = Arm::Gated(correction).to_string();
    match between(comparisons, &gated, &real) {
        Some(added) => format!(
            "{alone}, and the images on top of that by {}",
            verdict::points(&added.balanced_accuracy)
        ),
        None => alone,
    }
}

#[cfg(test)]
mod tests;
