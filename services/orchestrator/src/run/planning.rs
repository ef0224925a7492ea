//! The plan stage: judges the baseline on the validation split, makes the plan, and hands its slots to the label store.

use saga_proto::{
    labelstore::v1::{AddSlotsRequest, SlotPlan},
    orchestrator::v1::{
        Plan as PlanEvent, PlannedClass as PlannedClassEvent, watch_run_response::Event,
    },
};
use serde::{Deserialize, Serialize};

use super::{RunContext, RunError, dataset, judge, models, training::Trained};
use crate::{
    metrics::Confusion,
    plan::{self, Plan, PlanInput, PlannedClass, TEST_MODE_SLOTS},
};

/// Slots of one request; with all their sources well below the message limit.
const SLOTS_PER_REQUEST: usize = 1_000;

/// The plan without its slots, which the label store holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PlanRecord {
    /// One row a class.
    pub(super) classes: Vec<PlannedClass>,
    weights: Vec<Vec<f64>>,
    validation: Confusion,
}

/// Makes the plan. Made again after a crash it is the same, and the store leaves slots that are there as they are.
pub(super) async fn plan(context: &RunContext, baseline: &Trained) -> Result<PlanRecord, RunError> {
    models::load_classifier(context, models::BASELINE, baseline).await?;
    let validation = judge::validate_baseline(context).await?;
    let plan = plan::make(&PlanInput {
        classes: &context.recipe.classes,
        train: &dataset::train_ids(context).await?,
        validation: &validation,
        policy: &context.recipe.plan,
        seed: context.seed,
        limit: context.options.test_mode.then_some(TEST_MODE_SLOTS),
    });
    tracing::info!(
        run_id = context.run_id,
        slots = plan.slots.len(),
        "planned\n{}",
        plan.table()
    );
    add_slots(context, &plan).await?;
    Ok(PlanRecord {
        classes: plan.classes,
        weights: plan.weights,
        validation,
    })
}

async fn add_slots(context: &RunContext, plan: &Plan) -> Result<(), RunError> {
    let slot = |slot: &plan::PlannedSlot| {
        Some(SlotPlan {
            target_label: context.recipe.classes.get(slot.target)?.clone(),
            ordinal: slot.ordinal,
            source_image_ids: slot.sources.clone(),
            tries_per_source: context.recipe.plan.tries_per_source,
        })
    };
    let slots: Vec<SlotPlan> = plan.slots.iter().filter_map(slot).collect();
    for chunk in slots.chunks(SLOTS_PER_REQUEST) {
        let request = AddSlotsRequest {
            run_id: context.run_id.clone(),
            slots: chunk.to_vec(),
        };
        context
            .services
            .runs
            .call(request, |mut runs, request| async move {
                runs.add_slots(request).await
            })
            .await?;
    }
    Ok(())
}

/// Tells the watchers the plan, also where it was made by an earlier attempt.
pub(super) fn announce(context: &RunContext, plan: &PlanRecord) {
    let row = |class: &PlannedClass| PlannedClassEvent {
        label: class.label.clone(),
        real: class.real,
        cap: class.cap,
        planned: class.planned,
        recall: class.recall.unwrap_or_default(),
    };
    context.events.emit(Event::Plan(PlanEvent {
        classes: plan.classes.iter().map(row).collect(),
    }));
}
