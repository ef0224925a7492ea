//! Thresholds with a promise: for each class the gates' `min`, lowered together until no more than a stated share of bad
//! candidates is accepted by all of them, with a stated confidence. The candidates come from the calibration split, which
//! nothing else is chosen on: [`offers`] says which, [`judged`] what the gates made of them,
//! [`saga_statistics::threshold`] how the bound comes about.

mod judged;
mod offers;

use std::collections::BTreeMap;

use futures::stream;
use saga_proto::{evaluation::v1::CalibrateRequest, labelstore::v1::Stage};
use saga_statistics::threshold::{Promise, Scored};

use super::{
    RunContext, RunError, bounded,
    models::{self, InUse},
    stage::unrecorded,
};
use crate::results::calibration::{Calibration, Chosen, ClassThresholds, Counts, assumption};
use judged::{JudgedGate, Verdicts};
use offers::Offer;

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
    let or_usual = |share: f64, usual: f64| if share == 0.0 { usual } else { share };
    let promise = Promise {
        max_bad_accepts: or_usual(request.max_bad_accepts, USUAL.max_bad_accepts),
        confidence: or_usual(request.confidence, USUAL.confidence),
    };
    match promise.invalid() {
        Some((field, why)) => Err(RunError::Invalid { field, why }),
        None => Ok(promise),
    }
}

/// Calibrates the gates of a finished run; answers [`Calibration`] as JSON.
pub(crate) async fn calibrate(
    context: &RunContext,
    stages: &[Stage],
    promise: Promise,
) -> Result<String, RunError> {
    models::load_recorded(context, stages).await?;
    let found = unrecorded(context, STAGE, gates(context, promise)).await?;
    if found.gates.is_empty() {
        let why = "there are no bad candidates that a gate of this run could tell; calibration needs images in the calibration split (calibration_fraction in the recipe's [split]), and a gate that knows labels or the studio";
        return Err(RunError::Data(why.into()));
    }
    serde_json::to_string(&found)
        .map_err(|error| RunError::Data(format!("the calibration cannot be written: {error}")))
}

/// Calibrates the gates of a run under way.
pub(super) async fn stage(
    context: &RunContext,
    models: &InUse,
    promise: Promise,
) -> Result<Calibration, RunError> {
    models.load(context).await?;
    gates(context, promise).await
}

/// The thresholds of every gate that bad candidates are known for; without such gates or candidates all stay. The gates' models
/// must be loaded.
async fn gates(context: &RunContext, promise: Promise) -> Result<Calibration, RunError> {
    let rows = offers::rows(context).await?;
    let bad = offers::kind(context);
    let gates = judged::gates(context, bad).await?;
    if rows.is_empty() || gates.is_empty() {
        let none = (Vec::new(), BTreeMap::new());
        return calibration(context, promise, ["", &assumption(0)], none);
    }
    let assumption = assumption(offers::repeated(&rows));
    let offers = offers::all(context, rows, bad);
    let verdicts = verdicts(context, &gates, offers).await?;
    let labels = context.recipe.classes.iter().enumerate();
    let classes = labels.map(|(class, label)| {
        let sides = [true, false].map(|bad| {
            let of_side = |verdicts: &&Verdicts| verdicts.class == class && verdicts.bad == bad;
            verdicts.iter().filter(of_side).collect()
        });
        let found = one_class(&gates, label, promise, context.seed, sides);
        (label.clone(), found)
    });
    let names = gates.iter().map(|gate| gate.name().to_owned()).collect();
    let found = (names, classes.collect());
    calibration(context, promise, [bad.about(), &assumption], found)
}

fn calibration(
    context: &RunContext,
    promise: Promise,
    [bad, assumption]: [&str; 2],
    (gates, classes): (Vec<String>, BTreeMap<String, ClassThresholds>),
) -> Result<Calibration, RunError> {
    let found = Calibration {
        run_id: context.run_id.clone(),
        promise,
        assumption: assumption.into(),
        bad: bad.into(),
        gates,
        classes,
        gates_toml: String::new(),
    };
    let gates_toml = found
        .toml(&context.recipe.gates)
        .map_err(|error| RunError::Data(format!("the gates cannot be written as TOML: {error}")))?;
    Ok(Calibration {
        gates_toml,
        ..found
    })
}

/// What every gate says of every offer that became a candidate.
async fn verdicts(
    context: &RunContext,
    gates: &[JudgedGate],
    offers: Vec<Offer>,
) -> Result<Vec<Verdicts>, RunError> {
    let total = offers.len() as u64;
    let offers = stream::iter(offers.into_iter().map(Ok));
    let judged = bounded::each(offers, |offer: Offer| async move {
        let (class, bad) = (offer.class, offer.bad);
        let Some(candidate) = offer.candidate(context).await? else {
            return Ok(None);
        };
        let mut scores = Vec::with_capacity(gates.len());
        for gate in gates {
            scores.push(gate.score(&candidate).await?);
        }
        Ok(Some(Verdicts { class, bad, scores }))
    });
    let judged = bounded::collect(context, STAGE, total, judged).await?;
    Ok(judged.into_iter().flatten().collect())
}

fn one_class(
    gates: &[JudgedGate],
    label: &str,
    promise: Promise,
    seed: u64,
    [bad, good]: [Vec<&Verdicts>; 2],
) -> ClassThresholds {
    let bounds: Vec<[f64; 2]> = gates.iter().map(|gate| gate.bounds(label)).collect();
    let ranges: Vec<[f64; 2]> = gates.iter().map(|gate| gate.range(label)).collect();
    let scores = |side: &[&Verdicts]| -> Vec<Vec<f64>> {
        side.iter()
            .map(|verdicts| verdicts.below_max(&bounds))
            .collect()
    };
    let scored = Scored {
        good: &scores(&good),
        bad: &scores(&bad),
        ranges: &ranges,
    };
    let chosen = promise.choose(&scored).map(|chosen| Chosen {
        min: gates
            .iter()
            .map(|gate| gate.name().to_owned())
            .zip(chosen.min)
            .collect(),
        accepted: Counts {
            bad: chosen.bad_accepted,
            good: chosen.good_accepted,
        },
        bound: chosen.bound,
    });
    let before = |side: &[&Verdicts]| {
        let accepted = side.iter().filter(|verdicts| verdicts.are_within(&bounds));
        accepted.count() as u64
    };
    ClassThresholds {
        judged: Counts {
            bad: bad.len() as u64,
            good: good.len() as u64,
        },
        before: Counts {
            bad: before(&bad),
            good: before(&good),
        },
        chosen,
        repeated: promise.repeated(&scored, REPETITIONS, seed),
    }
}
