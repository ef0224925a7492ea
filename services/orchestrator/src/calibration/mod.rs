//! Thresholds with a promise: for each gate and class, the loosest `min` at which no more than a stated share of bad candidates is
//! accepted, with a stated confidence. The bad candidates come from the calibration split, which nothing else is chosen on:
//! [`offers`] says which, [`figures`] what was found and the gates with it, [`saga_statistics::threshold`] how the bound comes about.

pub mod figures;
mod offers;

use std::sync::Arc;

use futures::stream;
use saga_client::Priority;
use saga_proto::{
    evaluation::v1::CalibrateRequest, gate::v1::DescribeResponse, guard::v1::Candidate,
    labelstore::v1::Stage,
};
use saga_statistics::threshold::Promise;

use crate::{
    guard::Guard,
    recipe::{Gate, Recipe},
    run::{RunContext, RunError, bounded, models, stage::unrecorded},
};
use figures::{Calibration, ClassThreshold, GateThresholds};
use offers::{Bad, Offer};

/// The stage of a run that calibrates its gates, and progress of judging.
pub(crate) const STAGE: &str = "calibration";
/// Repetitions that show whether the promise is kept.
const REPETITIONS: u32 = 200;
/// Where a request says nothing.
const USUAL: Promise = Promise {
    max_bad_accepts: 0.1,
    confidence: 0.9,
};

/// The promise of a request.
pub(crate) fn promise(request: &CalibrateRequest) -> Result<Promise, RunError> {
    Ok(Promise {
        max_bad_accepts: share(
            "max_bad_accepts",
            request.max_bad_accepts,
            USUAL.max_bad_accepts,
        )?,
        confidence: share("confidence", request.confidence, USUAL.confidence)?,
    })
}

fn share(field: &'static str, value: f64, usual: f64) -> Result<f64, RunError> {
    match value {
        0.0 => Ok(usual),
        value if value > 0.0 && value < 1.0 => Ok(value),
        value => Err(RunError::Invalid {
            field,
            why: format!("is {value}; it must lie above 0 and below 1"),
        }),
    }
}

/// Calibrates every gate that bad candidates are known for; answers [`Calibration`] as JSON.
pub(crate) async fn calibrate(
    context: &RunContext,
    stages: &[Stage],
    promise: Promise,
) -> Result<String, RunError> {
    models::load_recorded(context, stages).await?;
    let found = unrecorded(context, STAGE, gates(context, promise)).await?;
    serde_json::to_string(&found)
        .map_err(|error| RunError::Data(format!("the calibration cannot be written: {error}")))
}

/// The thresholds of every gate that bad candidates are known for. The gates' models must be loaded.
pub(crate) async fn gates(context: &RunContext, promise: Promise) -> Result<Calibration, RunError> {
    let rows = offers::rows(context).await?;
    let mut gates = Vec::with_capacity(context.recipe.gates.len());
    for gate in &context.recipe.gates {
        let alone = alone(context, gate)?;
        let described = alone.describe().await?.into_iter().next();
        let described = described
            .map(|(_, description)| description)
            .unwrap_or_default();
        gates.push(match offers::kind(context, gate, &described) {
            Some(bad) => {
                let scores = scores(context, &alone, offers::all(context, &rows, bad)).await?;
                one_gate(context, gate, &described, promise, (bad, &scores))
            }
            None => GateThresholds::unknown(gate),
        });
    }
    Calibration::new(context, promise, gates)
}

/// A cascade of one gate.
fn alone(context: &RunContext, gate: &Gate) -> Result<Guard, RunError> {
    let recipe = Recipe {
        gates: vec![gate.clone()],
        ..Recipe::clone(&context.recipe)
    };
    Ok(models::guard(Arc::new(recipe), &context.config)?)
}

/// A judged offer.
struct Score {
    class: usize,
    bad: bool,
    score: f64,
}

/// The gate's score of every offer.
async fn scores(
    context: &RunContext,
    gate: &Guard,
    offers: Vec<Offer>,
) -> Result<Vec<Score>, RunError> {
    let total = offers.len() as u64;
    let offers = stream::iter(offers.into_iter().map(Ok));
    let judged = bounded::each(offers, |offer: Offer| async move {
        let (class, bad) = (offer.class, offer.bad);
        let question = Candidate {
            candidate_id: String::new(),
            recipe: String::new(),
            target_label: context
                .recipe
                .classes
                .get(class)
                .cloned()
                .unwrap_or_default(),
            ..offer.candidate(context).await?
        };
        let decision = gate.check(&question, Priority::Low).await?;
        let verdict = decision.verdicts.first();
        let score = verdict.map_or(f64::NAN, |verdict| verdict.score);
        Ok(Score { class, bad, score })
    });
    bounded::collect(context, STAGE, total, judged).await
}

fn one_gate(
    context: &RunContext,
    gate: &Gate,
    described: &DescribeResponse,
    promise: Promise,
    (bad, scores): (Bad, &[Score]),
) -> GateThresholds {
    let spec = described.thresholds.iter().find(|spec| spec.name == "min");
    let range = spec.map_or([0.0, 1.0], |spec| [spec.lowest, spec.highest]);
    let class = |(index, label): (usize, &String)| {
        let of = |bad: bool| -> Vec<f64> {
            let side = scores
                .iter()
                .filter(|score| score.class == index && score.bad == bad);
            side.map(|score| score.score).collect()
        };
        let (bad, good) = (of(true), of(false));
        let found = ClassThreshold::new(
            &bad,
            &good,
            gate.thresholds_for(label).get("min").copied(),
            promise.loosest(&bad, range),
            promise.repeated(&bad, range, REPETITIONS, context.seed),
        );
        (label.clone(), found)
    };
    GateThresholds {
        gate: gate.name.clone(),
        bad: bad.about().to_owned(),
        classes: context
            .recipe
            .classes
            .iter()
            .enumerate()
            .map(class)
            .collect(),
    }
}
