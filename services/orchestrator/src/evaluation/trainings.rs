//! Trains every arm with every seed. A trained arm is on the trainer's disk and answered at once when asked for again. Arms that
//! come to the same training share its model: a gate that keeps nothing out may as well be there.

use std::{collections::BTreeSet, time::Instant};

use saga_proto::{
    labelstore::v1::ExtraImage,
    orchestrator::v1::{StageFinished, watch_run_response::Event},
    trainer::v1::StreamTrainingRequest,
};

use super::{Plan, arm::Arm, pool::Pool, selection};
use crate::{
    recipe::Settings,
    run::{
        RunContext, RunError,
        stage::Progress,
        training::{self, Trained},
    },
};

/// Progress of all trainings together.
pub(crate) const STAGE: &str = "arms";

/// One arm, trained with every seed.
pub(crate) struct TrainedArm {
    pub(crate) arm: Arm,
    /// Extra images by class, in label order, of the first seed.
    pub(crate) added: Vec<u64>,
    /// By seed, in the order of the plan.
    pub(crate) models: Vec<Trained>,
}

/// What a training comes to, apart from its seed and name.
#[derive(PartialEq)]
struct What {
    settings: Settings,
    extra: Vec<ExtraImage>,
}

/// Trains seed by seed, so that what is there is comparable wherever it breaks off.
pub(crate) async fn train(
    context: &RunContext,
    plan: &Plan,
    pool: &Pool,
    passed: &[(String, BTreeSet<String>)],
) -> Result<Vec<TrainedArm>, RunError> {
    // An arm without images is refused before hours are spent on the others.
    if let Some(&seed) = plan.seeds.first() {
        for arm in &plan.arms {
            extra(context, arm, pool, passed, seed)?;
        }
    }
    let settings = &context.recipe.training.classifier.settings;
    let steps = u64::from(plan.steps);
    let total = steps * (plan.seeds.len() * plan.arms.len()) as u64;
    let mut progress = Progress::new(STAGE);
    let mut done = 0;
    context.events.emit(progress.at(done, total));
    let untrained = |arm: &Arm| TrainedArm {
        arm: arm.clone(),
        added: Vec::new(),
        models: Vec::new(),
    };
    let mut arms: Vec<TrainedArm> = plan.arms.iter().map(untrained).collect();
    for &seed in &plan.seeds {
        let mut of_seed: Vec<(What, Trained)> = Vec::with_capacity(arms.len());
        for trained in &mut arms {
            let what = What {
                settings: trained.arm.settings(settings, plan.steps),
                extra: extra(context, &trained.arm, pool, passed, seed)?,
            };
            if trained.models.is_empty() {
                trained.added = by_class(&context.recipe.classes, &what.extra);
            }
            let twin = of_seed.iter().find(|(other, _)| *other == what);
            let mut model = match twin {
                Some((_, model)) => model.clone(),
                None => one(context, &trained.arm, seed, &what).await?,
            };
            model.reused |= twin.is_some();
            of_seed.push((what, model.clone()));
            done += steps;
            if model.reused {
                // What cost no time says nothing about the time that is left.
                progress = Progress::new(STAGE);
            }
            trained.models.push(model);
            context.events.emit(progress.at(done, total));
        }
    }
    Ok(arms)
}

fn extra(
    context: &RunContext,
    arm: &Arm,
    pool: &Pool,
    passed: &[(String, BTreeSet<String>)],
    seed: u64,
) -> Result<Vec<ExtraImage>, RunError> {
    let none = BTreeSet::new();
    let of_gate = passed
        .iter()
        .find(|(gate, _)| *arm == Arm::Without(gate.clone()));
    let passed = of_gate.map_or(&none, |(_, passed)| passed);
    let extra = selection::extra(arm, pool, passed, &context.recipe.classes, seed);
    if extra.is_empty() && arm.adds_images() {
        let why = format!(
            "the run accepted no image that the arm {arm} could train on; leave the arm out"
        );
        return Err(RunError::Data(why));
    }
    Ok(extra)
}

fn by_class(classes: &[String], extra: &[ExtraImage]) -> Vec<u64> {
    let count = |label: &String| extra.iter().filter(|image| image.label == *label).count() as u64;
    classes.iter().map(count).collect()
}

async fn one(context: &RunContext, arm: &Arm, seed: u64, what: &What) -> Result<Trained, RunError> {
    let stage = format!("{arm}-{seed}");
    let request = training::classifier(context, &format!("eval/{stage}"), &what.settings);
    let started = Instant::now();
    let request = StreamTrainingRequest {
        seed,
        extra: what.extra.clone(),
        ..request
    };
    let model = training::train(context, &stage, request).await?;
    context.events.emit(Event::StageFinished(StageFinished {
        stage,
        duration: started.elapsed().try_into().ok(),
        resumed: model.reused,
    }));
    Ok(model)
}
