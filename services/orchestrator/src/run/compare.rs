//! The last stage: both models on the sealed golden set, and the results.

use std::{collections::BTreeMap, time::Instant};

use saga_proto::labelstore::v1::GetRunRequest;

use saga_statistics::bootstrap::Design;

use super::{
    RESULTS_STAGE, RunContext, RunError, bounded, dataset, diffusion, generate, judge,
    models::{self, InUse},
    options::OPTIONS_STAGE,
    planning::PlanRecord,
    read, register, tallies,
    training::Trained,
};
use crate::{
    metrics::Confusion,
    results::{
        ArmResult, Calibration, Candidates, Dataset, Delta, Golden, GuardTruth, ModelResult,
        Results,
    },
};

/// Bootstrap resamples.
const RESAMPLES: u32 = 2_000;

/// Judges both models and writes down what the run found.
pub(super) async fn compare(
    context: &RunContext,
    models: &InUse,
    augmented: &Trained,
    plan: &PlanRecord,
    calibration: Option<Calibration>,
) -> Result<Results, RunError> {
    let started = Instant::now();
    models::load_classifier(context, models::BASELINE, &models.baseline).await?;
    models::load_classifier(context, models::AUGMENTED, augmented).await?;
    let counts = dataset::counts(context).await?;
    let pairs = judge_golden(
        context,
        counts.iter().map(|class| u64::from(class.golden)).sum(),
    )
    .await?;
    let funnel = generate::funnel(context).await?;
    let classes = &context.recipe.classes;
    let [judged_baseline, judged_augmented] = [
        |pair: &Paired| pair.baseline,
        |pair: &Paired| pair.augmented,
    ]
    .map(|predicted| ModelResult::new(classes, confusion(&pairs, classes.len(), predicted)));
    register::classifier(context, &models.baseline, "", &judged_baseline).await?;
    register::classifier(context, augmented, &context.run_id, &judged_augmented).await?;
    let interval = interval(&pairs, classes.len(), context.seed);
    let judged = |class| pairs.iter().filter(|pair| pair.truth == class).count() as u64;
    let mut seconds = recorded_seconds(context).await?;
    seconds.insert(RESULTS_STAGE.to_owned(), started.elapsed().as_secs_f64());
    Ok(Results {
        run_id: context.run_id.clone(),
        recipe: context.recipe.name.clone(),
        seed: context.seed,
        generator: generator(context),
        test_mode: context.options.test_mode,
        classes: classes.clone(),
        dataset: Dataset::new(&counts),
        golden: Golden {
            counts: classes
                .iter()
                .cloned()
                .enumerate()
                .map(|(class, label)| (label, judged(class)))
                .collect(),
        },
        delta: Delta::new(&judged_baseline, &judged_augmented, interval),
        baseline: judged_baseline,
        augmented: judged_augmented,
        candidates: Candidates::new(&funnel),
        arms: tallies::count(context, 0, None)
            .await?
            .into_iter()
            .map(ArmResult::new)
            .collect(),
        guard: GuardTruth::new(&funnel.faults),
        memorisation: diffusion::memorisation(context).await?,
        plan: plan.classes.clone(),
        prompt_version: context.recipe.prompts.version(&context.recipe.classes),
        gates: context.recipe.gates.clone(),
        calibration,
        model_revisions: revisions(models, augmented),
        seconds,
    })
}

/// The backends' names.
fn generator(context: &RunContext) -> String {
    let names: Vec<&str> = context
        .backends
        .iter()
        .map(|backend| backend.name.as_str())
        .collect();
    names.join(", ")
}

/// One image judged by both models.
struct Paired {
    truth: usize,
    subject: String,
    baseline: usize,
    augmented: usize,
}

/// 95 % interval of the difference in balanced accuracy; `None` without images.
fn interval(pairs: &[Paired], classes: usize, seed: u64) -> Option<[f64; 2]> {
    let truth: Vec<usize> = pairs.iter().map(|pair| pair.truth).collect();
    let subjects = judge::subjects(pairs.iter().map(|pair| pair.subject.as_str()));
    let [baseline, augmented] = [
        |pair: &Paired| pair.baseline,
        |pair: &Paired| pair.augmented,
    ]
    .map(|predicted| {
        let right = pairs.iter().map(|pair| predicted(pair) == pair.truth);
        [right.collect::<Vec<bool>>()]
    });
    let design = Design {
        truth: &truth,
        subjects: &subjects,
        splits: &[],
        classes,
        resamples: RESAMPLES,
        seed,
    };
    let found = design.differences(&baseline, &augmented)?;
    Some(found.balanced_accuracy.interval)
}

/// Both models' answers for each golden image. The store records the read.
async fn judge_golden(context: &RunContext, total: u64) -> Result<Vec<Paired>, RunError> {
    let rows = read::golden(context, "compare baseline and augmented").await?;
    let judged = bounded::each(rows, |row| async move {
        let (baseline, augmented) = tokio::try_join!(
            judge::answer(context, models::BASELINE, &row),
            judge::answer(context, models::AUGMENTED, &row)
        )?;
        Ok(Paired {
            truth: judge::truth(context, &row)?,
            baseline: baseline.class,
            augmented: augmented.class,
            subject: row.subject,
        })
    });
    bounded::collect(context, RESULTS_STAGE, total, judged).await
}

fn confusion(pairs: &[Paired], classes: usize, predicted: impl Fn(&Paired) -> usize) -> Confusion {
    let mut confusion = Confusion::new(classes);
    pairs
        .iter()
        .for_each(|pair| confusion.add(pair.truth, predicted(pair)));
    confusion
}

fn revisions(models: &InUse, augmented: &Trained) -> BTreeMap<String, String> {
    let of = [
        (models::BASELINE, Some(&models.baseline)),
        (models::CLIP, models.clip.as_ref()),
        (diffusion::DIFFUSION, models.local.as_ref()),
        (models::AUGMENTED, Some(augmented)),
    ];
    of.into_iter()
        .filter_map(|(name, model)| Some((name.to_owned(), model?.revision.clone())))
        .collect()
}

/// Durations of the stages on record.
async fn recorded_seconds(context: &RunContext) -> Result<BTreeMap<String, f64>, RunError> {
    let request = GetRunRequest {
        run_id: context.run_id.clone(),
    };
    let run = context
        .services
        .runs
        .call(request, |mut runs, request| async move {
            runs.get_run(request).await
        })
        .await?;
    let seconds = |stage: saga_proto::labelstore::v1::Stage| {
        let duration = std::time::Duration::try_from(stage.duration?).ok()?;
        Some((stage.name, duration.as_secs_f64()))
    };
    let work = run
        .stages
        .into_iter()
        .filter(|stage| stage.name != OPTIONS_STAGE);
    Ok(work.filter_map(seconds).collect())
}
