//! From answers to figures, comparisons and the verdict.

use std::collections::{BTreeMap, BTreeSet};

use saga_statistics::{
    bootstrap::{Design, Estimate, Estimates},
    verdict::{self, Evidence},
};

use super::{
    Plan,
    arm::Arm,
    drift::Drift,
    figures::{self, Answers, ArmFigures, Comparison, Evaluation, Golden, Groups, Model, Scores},
    golden::{self, PURPOSE},
    groups::{Group, RULE},
    trainings::TrainedArm,
};
use crate::run::{RunContext, RunError, judge::Answer, training::Trained};

/// Bootstrap resamples.
const RESAMPLES: u32 = 5_000;
/// Level of the tests of classes, after Holm's correction.
const LEVEL: f64 = 0.05;

/// An arm's name, and which answers of its models are right.
type Named = (String, Vec<Vec<bool>>);

/// What was measured.
pub(crate) struct Measured {
    pub(crate) golden: golden::Golden,
    pub(crate) arms: Vec<TrainedArm>,
    /// `[arm][seed][image]`.
    pub(crate) answers: Vec<Vec<Vec<Answer>>>,
    /// Real train images by class, in label order.
    pub(crate) train_images: Vec<usize>,
    pub(crate) drift: Vec<Drift>,
}

/// Everything that is said about a run's images. Takes seconds of computing.
pub(crate) fn conclude(
    context: &RunContext,
    plan: &Plan,
    measured: Measured,
) -> Result<Evaluation, RunError> {
    let classes = &context.recipe.classes;
    let truth = &measured.golden.truth;
    let design = Design {
        truth,
        subjects: &measured.golden.subjects,
        classes: classes.len(),
        resamples: RESAMPLES,
        seed: context.seed,
    };
    let empty = || RunError::Data("the golden set holds no image; nothing can be judged".into());
    let groups: Vec<Group> = measured
        .train_images
        .iter()
        .map(|&images| Group::of(images))
        .collect();
    let mut arms = Vec::with_capacity(measured.arms.len());
    let mut right = Vec::with_capacity(measured.arms.len());
    for (trained, answers) in measured.arms.iter().zip(&measured.answers) {
        let of_arm = figures::right(answers, truth);
        let shares = design.shares(&of_arm).ok_or_else(empty)?;
        arms.push(arm_figures(
            trained,
            &plan.seeds,
            (answers, shares),
            &design,
            classes,
            &groups,
        ));
        right.push((trained.arm.to_string(), of_arm));
    }
    let comparisons = comparisons(&design, classes, &right);
    let (verdict, reason) = decide(plan, &comparisons);
    let images = |class| truth.iter().filter(|&&truth| truth == class).count() as u64;
    let read_again =
        |read: &figures::EarlierRead| read.run_id == context.run_id && read.purpose == PURPOSE;
    Ok(Evaluation {
        run_id: context.run_id.clone(),
        recipe: context.recipe.name.clone(),
        train_images: by_label(
            classes,
            measured.train_images.iter().map(|&images| images as u64),
        ),
        seeds: plan.seeds.clone(),
        steps: plan.steps,
        verdict,
        reason,
        golden: Golden {
            images: by_label(classes, (0..classes.len()).map(images)),
            subjects: measured
                .golden
                .subjects
                .iter()
                .collect::<BTreeSet<_>>()
                .len() as u64,
            well_sampled: classes
                .iter()
                .zip(design.well_sampled())
                .filter(|(_, is_well_sampled)| *is_well_sampled)
                .map(|(label, _)| label.clone())
                .collect(),
            read_again: measured.golden.earlier.iter().any(read_again),
            earlier_reads: measured.golden.earlier,
        },
        groups: Groups {
            rule: RULE.into(),
            classes: by_label(classes, groups),
        },
        arms,
        comparisons,
        drift: measured.drift,
        classes: classes.clone(),
    })
}

fn by_label<T>(classes: &[String], values: impl IntoIterator<Item = T>) -> BTreeMap<String, T> {
    classes.iter().cloned().zip(values).collect()
}

fn arm_figures(
    trained: &TrainedArm,
    seeds: &[u64],
    (answers, shares): (&Answers, Estimates),
    design: &Design<'_>,
    classes: &[String],
    groups: &[Group],
) -> ArmFigures {
    let scores = Scores::new(answers, design.truth, classes.len());
    let models = seeds
        .iter()
        .zip(&trained.models)
        .zip(&scores.balanced_accuracy);
    let model = |((&seed, model), balanced_accuracy): ((&u64, &Trained), &Option<f64>)| Model {
        seed,
        directory: model.directory.clone(),
        revision: model.revision.clone(),
        balanced_accuracy: *balanced_accuracy,
    };
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
        name: trained.arm.to_string(),
        about: trained.arm.about(),
        added: by_label(classes, trained.added.iter().copied()),
        models: models.map(model).collect(),
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

/// Every arm against plain, then gated against every other.
fn comparisons(design: &Design<'_>, classes: &[String], right: &[Named]) -> Vec<Comparison> {
    let [plain, gated] = [Arm::Plain, Arm::Gated].map(|arm| arm.to_string());
    let of = |name: &str| right.iter().find(|(arm, _)| arm == name);
    let against_plain = right
        .iter()
        .filter(|(arm, _)| *arm != plain)
        .filter_map(|arm| Some((arm, of(&plain)?)));
    let of_gated = right
        .iter()
        .filter(|(arm, _)| *arm != plain && *arm != gated);
    let against_gated = of_gated.filter_map(|arm| Some((of(&gated)?, arm)));
    let pair = |((arm, right), (reference, right_reference)): (&Named, &Named)| {
        figures::comparison(design, classes, (arm, right), (reference, right_reference))
    };
    against_plain
        .chain(against_gated)
        .filter_map(pair)
        .collect()
}

fn decide(plan: &Plan, comparisons: &[Comparison]) -> (verdict::Verdict, String) {
    let [plain, gated, duplicate_tail, placebo] =
        [Arm::Plain, Arm::Gated, Arm::DuplicateTail, Arm::Placebo].map(|arm| arm.to_string());
    let of_gated = |reference: &str| {
        comparisons
            .iter()
            .find(|pair| pair.arm == gated && pair.reference == reference)
    };
    let balanced =
        |reference: &str| -> Option<&Estimate> { Some(&of_gated(reference)?.balanced_accuracy) };
    let worse: Vec<String> = of_gated(&plain)
        .iter()
        .flat_map(|pair| &pair.recall)
        .filter(|(_, recall)| recall.estimate.value < 0.0 && recall.holm_p <= LEVEL)
        .map(|(label, _)| label.clone())
        .collect();
    verdict::decide(&Evidence {
        seeds: plan.seeds.len(),
        over_plain: balanced(&plain),
        over_controls: &[
            (&duplicate_tail, balanced(&duplicate_tail)),
            (&placebo, balanced(&placebo)),
        ],
        worse_classes: &worse,
    })
}
