//! Evaluation of a finished run: the same model trained on different training sets, judged on one read of the golden set.
//!
//! [`arm`] says what is compared, [`pool`], [`counterfactual`] and [`selection`] make the training sets, [`trainings`] trains,
//! [`golden`] judges, [`drift`] measures distances, [`judged`] keeps the answers, [`together`] puts those of
//! several runs side by side, and [`conclude`](fn@conclude) makes the [`figures`] of them. It records nothing but the read of the golden
//! set: started again, arms that are trained are reused.

mod arm;
mod conclude;
mod counterfactual;
mod drift;
pub mod figures;
mod golden;
pub mod groups;
pub mod judged;
mod pool;
mod selection;
mod together;
mod trainings;

use std::collections::BTreeSet;

use saga_proto::{evaluation::v1::EvaluateRequest, labelstore::v1::Stage};

pub use conclude::conclude;
pub use drift::Drift;
pub use together::MismatchError;

use crate::run::{
    RunContext, RunError, judge::Answer, models, stage::unrecorded, training::Trained,
};
use arm::Arm;
use judged::{Judged, JudgedArm, JudgedModel};
use pool::Pool;
use trainings::TrainedArm;

/// Trainings of an arm where a request names no number.
const USUAL_SEEDS: u32 = 3;
const MOST_SEEDS: u32 = 100;

/// What is trained.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    arms: Vec<Arm>,
    seeds: Vec<u64>,
    steps: u32,
}

impl Plan {
    /// Checks a request against the run's recipe.
    pub(crate) fn new(request: &EvaluateRequest, context: &RunContext) -> Result<Self, RunError> {
        let seeds = match request.seeds {
            0 => USUAL_SEEDS,
            seeds if seeds <= MOST_SEEDS => seeds,
            seeds => {
                return Err(RunError::Invalid {
                    field: "seeds",
                    why: format!("is {seeds}; at most {MOST_SEEDS} are taken"),
                });
            }
        };
        let steps = match request.steps {
            0 => context.recipe.training.classifier.settings.steps,
            steps => steps,
        };
        Ok(Self {
            arms: arm::parse(&request.arms, &context.recipe)?,
            seeds: (0..u64::from(seeds))
                .map(|index| context.seed.wrapping_add(index))
                .collect(),
            steps,
        })
    }
}

/// Trains, judges and concludes; answers [`figures::Evaluation`] as JSON.
pub(crate) async fn evaluate(
    context: &RunContext,
    stages: &[Stage],
    plan: Plan,
) -> Result<String, RunError> {
    let (baseline, clip) = models::load_recorded(context, stages).await?;
    let pool = Pool::read(context).await?;
    let passed = unrecorded(context, "counterfactual", counterfactuals(context, &plan)).await?;
    let arms = unrecorded(
        context,
        trainings::STAGE,
        trainings::train(context, &plan, &pool, &passed),
    )
    .await?;
    let drift = drift::measure(context, &pool, &baseline, clip.as_deref());
    let drift = unrecorded(context, drift::STAGE, drift).await?;
    let golden = golden::open(context).await?;
    let answers = unrecorded(
        context,
        golden::STAGE,
        golden::judge(context, &golden, &arms),
    )
    .await?;
    let judged = Judged {
        run_id: context.run_id.clone(),
        recipe: context.recipe.name.clone(),
        classes: context.recipe.classes.clone(),
        train_images: pool.real.iter().map(|real| real.len() as u64).collect(),
        seeds: plan.seeds,
        steps: plan.steps,
        images: golden.images(context)?,
        read_again: golden.read_again(&context.run_id),
        earlier_reads: golden.earlier,
        arms: arms.iter().zip(&answers).map(judged_arm).collect(),
    };
    let concluded = || conclude(std::slice::from_ref(&judged), drift);
    let mut evaluation = tokio::task::block_in_place(concluded)
        .map_err(|mismatch| RunError::Data(mismatch.to_string()))?;
    evaluation.answers = Some(judged);
    serde_json::to_string(&evaluation)
        .map_err(|error| RunError::Data(format!("the evaluation cannot be written: {error}")))
}

fn judged_arm((trained, answers): (&TrainedArm, &Vec<Vec<Answer>>)) -> JudgedArm {
    let models = trained.models.iter().zip(answers);
    let model = |(model, answers): (&Trained, &Vec<Answer>)| {
        JudgedModel::new(model.directory.clone(), model.revision.clone(), answers)
    };
    JudgedArm {
        name: trained.arm.to_string(),
        about: trained.arm.about(),
        added: trained.added.clone(),
        models: models.map(model).collect(),
    }
}

/// For each arm without a gate: what that gate alone kept out.
async fn counterfactuals(
    context: &RunContext,
    plan: &Plan,
) -> Result<Vec<(String, BTreeSet<String>)>, RunError> {
    let mut passed = Vec::new();
    for arm in &plan.arms {
        if let Arm::Without(gate) = arm {
            let ids = counterfactual::passed_without(context, gate).await?;
            passed.push((gate.clone(), ids));
        }
    }
    Ok(passed)
}
