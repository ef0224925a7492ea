//! One item on its way: the message, the checked candidate, the gate's judgement, the verdict.

use std::collections::HashMap;

use saga_chassis::status::{internal, invalid_argument};
use saga_proto::gate::v1::{DescribeResponse, Item, Verdict};
use saga_proto::r#type::v1::{ModelVersion, Timing};
use tonic::Status;

use crate::call::Call;
use crate::image::{EncodedImage, check_image};
use crate::thresholds::Thresholds;

/// Longest `candidate_id` in bytes.
const MAX_ID_BYTES: usize = 128;

/// A checked item: what the gate said it needs is there.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The image to judge.
    pub candidate: EncodedImage,
    /// The image the edit started from; always present where the gate needs it, else absent.
    pub source: Option<EncodedImage>,
    /// The class the candidate should show; not empty where the gate needs it.
    pub target_label: String,
    /// What the candidate should look like; not empty where the gate needs it.
    pub prompt: String,
    /// Which loaded model judges; empty: the default one.
    pub model: String,
    /// How the caller waits; hand it to [`submit`](crate::submit).
    pub call: Call,
}

/// What a gate makes of one candidate; the thresholds are applied to it afterwards.
#[derive(Debug, Clone, Default)]
pub struct Judgement {
    /// The gate's measure, finite.
    pub score: f64,
    /// The gate's own reason to reject whatever the score, a stable upper-case word.
    pub rejected: Option<&'static str>,
    /// Which weights answered; absent for gates without a model.
    pub model: Option<ModelVersion>,
    /// Where the time went.
    pub timing: Timing,
    /// Further figures.
    pub details: HashMap<String, f64>,
}

/// What of an item the verdict needs again.
pub(crate) struct Header {
    candidate_id: String,
    thresholds: Thresholds,
}

/// Splits an item into what the gate judges and what the verdict needs.
pub(crate) fn check(
    item: Option<Item>,
    gate: &DescribeResponse,
    max_bytes: usize,
    call: Call,
) -> Result<(Header, Candidate), Status> {
    let item = item.ok_or_else(|| invalid_argument("item", "is missing"))?;
    if item.candidate_id.len() > MAX_ID_BYTES {
        let why = format!(
            "has {} bytes and the limit is {MAX_ID_BYTES}",
            item.candidate_id.len()
        );
        return Err(invalid_argument("item.candidate_id", why));
    }
    let thresholds = Thresholds::resolve(&gate.thresholds, &item.thresholds)?;
    needed(
        "item.target_label",
        gate.needs_target_label,
        &item.target_label,
    )?;
    needed("item.prompt", gate.needs_prompt, &item.prompt)?;
    let candidate = check_image("item.candidate", item.candidate, max_bytes)?;
    let source = match gate.needs_source {
        true => Some(check_image("item.source", item.source, max_bytes)?),
        false => None,
    };
    let Item {
        candidate_id,
        target_label,
        prompt,
        model,
        ..
    } = item;
    Ok((
        Header {
            candidate_id,
            thresholds,
        },
        Candidate {
            candidate,
            source,
            target_label,
            prompt,
            model,
            call,
        },
    ))
}

fn needed(field: &str, is_needed: bool, value: &str) -> Result<(), Status> {
    if is_needed && value.is_empty() {
        return Err(invalid_argument(field, "is empty; this gate needs it"));
    }
    Ok(())
}

/// Compares the score with the thresholds.
pub(crate) fn write(header: Header, gate: String, judgement: Judgement) -> Result<Verdict, Status> {
    let Judgement {
        score,
        rejected,
        model,
        timing,
        details,
    } = judgement;
    if !score.is_finite() {
        return Err(internal(
            "SCORE_NOT_FINITE",
            format!("the gate's score is {score}"),
        ));
    }
    let Header {
        candidate_id,
        thresholds,
    } = header;
    let reason = rejected.unwrap_or_else(|| thresholds.reason(score));
    Ok(Verdict {
        candidate_id,
        gate,
        accepted: reason == "ACCEPTED",
        score,
        threshold_min: thresholds.min,
        threshold_max: thresholds.max,
        reason: reason.to_owned(),
        model,
        timing: Some(timing),
        details,
    })
}
