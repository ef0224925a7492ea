//! Describe is complete, and verdicts agree with it and with themselves.

use saga_proto::gate::v1::{DescribeResponse, ThresholdSpec, Verdict};

use super::Report;
use super::subject::Subject;

/// By how much the score of the same item may differ from call to call: batches of other sizes sum in another order.
pub(super) const SCORE_TOLERANCE: f64 = 1e-3;

pub(super) async fn check(subject: &mut Subject, report: &mut Report) {
    report.add(
        "Describe names the gate, its purpose and its thresholds with ranges",
        complete(&subject.description),
    );
    let first = subject.verdict(subject.item("conformance-1")).await;
    let second = subject.verdict(subject.item("conformance-1")).await;
    match (first, second) {
        (Ok(first), Ok(second)) => {
            report.add(
                "a verdict is complete and agrees with Describe",
                agrees(&first, &subject.description),
            );
            report.add(
                "the same item has the same score",
                same_score(&first, &second),
            );
            for spec in subject.description.thresholds.clone() {
                let outcome = threshold_decides(subject, &spec, first.score).await;
                report.add(format!("the threshold \"{}\" decides", spec.name), outcome);
            }
        }
        (Err(failure), _) | (_, Err(failure)) => {
            report.add("the fixtures have a verdict", Err(failure))
        }
    }
}

fn ensure(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise()) }
}

fn complete(described: &DescribeResponse) -> Result<(), String> {
    ensure(!described.name.is_empty(), || {
        "the name is empty".to_owned()
    })?;
    ensure(!described.description.is_empty(), || {
        "the description is empty".to_owned()
    })?;
    ensure(!described.thresholds.is_empty(), || {
        "there are no thresholds".to_owned()
    })?;
    for (index, spec) in described.thresholds.iter().enumerate() {
        let ThresholdSpec {
            name,
            default_value,
            lowest,
            highest,
        } = spec;
        ensure(name == "min" || name == "max", || {
            format!("a threshold is called \"{name}\", not min or max")
        })?;
        let twice = described
            .thresholds
            .iter()
            .take(index)
            .any(|earlier| earlier.name == *name);
        ensure(!twice, || {
            format!("the threshold \"{name}\" is described twice")
        })?;
        ensure(
            lowest < highest && (*lowest..=*highest).contains(default_value),
            || {
                format!(
                    "the default {default_value} of \"{name}\" does not lie in {lowest} to {highest}"
                )
            },
        )?;
    }
    Ok(())
}

fn agrees(verdict: &Verdict, described: &DescribeResponse) -> Result<(), String> {
    let id = &verdict.candidate_id;
    ensure(id == "conformance-1", || {
        format!("candidate_id is \"{id}\", not the item's")
    })?;
    ensure(verdict.gate == described.name, || {
        format!("gate is \"{}\"", verdict.gate)
    })?;
    ensure(verdict.score.is_finite(), || {
        format!("the score is {}", verdict.score)
    })?;
    let default = |name: &str| {
        described
            .thresholds
            .iter()
            .find(|spec| spec.name == name)
            .map(|spec| spec.default_value)
    };
    ensure(verdict.threshold_min == default("min"), || {
        format!("threshold_min is {:?}", verdict.threshold_min)
    })?;
    ensure(verdict.threshold_max == default("max"), || {
        format!("threshold_max is {:?}", verdict.threshold_max)
    })?;
    ensure(verdict.model == described.model, || {
        format!("model is {:?}, not Describe's", verdict.model)
    })?;
    let timing = verdict.timing.as_ref().ok_or("timing is missing")?;
    ensure(timing.batch_size >= 1 && timing.compute.is_some(), || {
        "timing lacks compute or batch_size".to_owned()
    })?;
    consistent(verdict)
}

/// `accepted`, `reason` and the bounds say the same.
pub(super) fn consistent(verdict: &Verdict) -> Result<(), String> {
    let Verdict {
        accepted,
        score,
        reason,
        ..
    } = verdict;
    ensure(*accepted == (reason == "ACCEPTED"), || {
        format!("accepted is {accepted} with reason \"{reason}\"")
    })?;
    let below = verdict.threshold_min.is_some_and(|min| *score < min);
    let above = verdict.threshold_max.is_some_and(|max| *score > max);
    ensure(!(*accepted && (below || above)), || {
        format!("accepted with {score} outside its bounds")
    })?;
    ensure(
        (reason == "BELOW_MIN") <= below && (reason == "ABOVE_MAX") <= above,
        || format!("reason {reason} with {score} inside that bound"),
    )
}

fn same_score(a: &Verdict, b: &Verdict) -> Result<(), String> {
    let (a, b) = (a.score, b.score);
    ensure((a - b).abs() <= SCORE_TOLERANCE, || {
        format!("{a}, then {b}")
    })
}

/// The widest bounds accept, and a bound drawn past the score rejects for that reason.
async fn threshold_decides(
    subject: &mut Subject,
    spec: &ThresholdSpec,
    score: f64,
) -> Result<(), String> {
    let wide = subject.verdict(subject.item_with(&[])).await?;
    consistent(&wide)?;
    ensure(wide.accepted, || {
        format!(
            "{} is rejected ({}) at the widest bounds",
            wide.score, wide.reason
        )
    })?;
    let (limit, reason) = if spec.name == "max" {
        (spec.lowest, "ABOVE_MAX")
    } else {
        (spec.highest, "BELOW_MIN")
    };
    let bound = f64::midpoint(score, limit);
    ensure((score - bound).abs() > SCORE_TOLERANCE, || {
        format!(
            "the fixtures' score {score} lies at the end of the range {} to {}",
            spec.lowest, spec.highest
        )
    })?;
    let narrow = subject
        .verdict(subject.item_with(&[(spec.name.as_str(), bound)]))
        .await?;
    consistent(&narrow)?;
    let told = if spec.name == "max" {
        narrow.threshold_max
    } else {
        narrow.threshold_min
    };
    ensure(told == Some(bound), || {
        format!("the verdict tells {told:?}, not the override {bound}")
    })?;
    ensure(narrow.reason == reason, || {
        format!(
            "\"{}\", not {reason}, for {score} against {bound}",
            narrow.reason
        )
    })
}
