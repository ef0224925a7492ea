//! Candidates, verdicts and provenance as messages.

use prost_types::Duration;
use saga_proto::{
    gate::v1 as gate,
    generator::v1 as generator,
    labelstore::v1,
    r#type::v1::{Image, ModelVersion, Timing},
};

use crate::{
    admission::Attempt,
    candidate::{self, Provenance, Settlement, Verdict},
    candidates::Candidate,
    dataset::Dataset,
    error::StoreError,
};

/// The attempt that a request ends.
pub(super) fn attempt_of(request: v1::SettleCandidateRequest) -> Attempt {
    let candidate = request.candidate.unwrap_or_default();
    let image = candidate.image.filter(|image| !image.data.is_empty());
    let error = if request.error.is_empty() {
        candidate.message
    } else {
        request.error
    };
    Attempt {
        run_id: request.run_id,
        slot_id: request.slot_id,
        attempt: request.attempt,
        candidate_id: request.candidate_id,
        image_blake3: image.as_ref().map(|i| i.blake3.clone()).unwrap_or_default(),
        image: image.map(|i| i.data),
        accepted: request.accepted,
        rejected_by: request.rejected_by,
        error,
        source_image_id: request.source_image_id,
        prompt_text: request.prompt_text,
        backend: request.backend,
        verdicts: request.verdicts.into_iter().map(verdict_of).collect(),
        provenance: candidate.provenance.map(provenance_of).unwrap_or_default(),
        // Zero is the unset fault: the generator does not know.
        fault: candidate
            .truth
            .map(|truth| truth.fault)
            .filter(|fault| *fault != 0),
    }
}

fn verdict_of(verdict: gate::Verdict) -> Verdict {
    let finite = |x: f64| x.is_finite().then_some(x);
    Verdict {
        gate: verdict.gate,
        accepted: verdict.accepted,
        score: finite(verdict.score),
        threshold_min: verdict.threshold_min.and_then(finite),
        threshold_max: verdict.threshold_max.and_then(finite),
        reason: verdict.reason,
        model: verdict.model.map(|m| candidate::Model {
            name: m.name,
            id: m.id,
            revision: m.revision,
        }),
        timing: verdict.timing.map(|t| candidate::Timing {
            queue_us: microseconds(t.queue),
            decode_us: microseconds(t.decode),
            compute_us: microseconds(t.compute),
            batch_size: t.batch_size,
        }),
        details: verdict
            .details
            .into_iter()
            .filter(|(_, value)| value.is_finite())
            .collect(),
    }
}

fn verdict_message(verdict: Verdict, candidate_id: &str) -> gate::Verdict {
    gate::Verdict {
        candidate_id: candidate_id.to_owned(),
        gate: verdict.gate,
        accepted: verdict.accepted,
        score: verdict.score.unwrap_or(f64::NAN),
        threshold_min: verdict.threshold_min,
        threshold_max: verdict.threshold_max,
        reason: verdict.reason,
        model: verdict.model.map(|m| ModelVersion {
            name: m.name,
            id: m.id,
            revision: m.revision,
        }),
        timing: verdict.timing.map(|t| Timing {
            queue: Some(duration(t.queue_us)),
            decode: Some(duration(t.decode_us)),
            compute: Some(duration(t.compute_us)),
            batch_size: t.batch_size,
        }),
        details: verdict.details.into_iter().collect(),
    }
}

fn provenance_of(provenance: generator::Provenance) -> Provenance {
    Provenance {
        backend: provenance.backend,
        backend_version: provenance.backend_version,
        prompt: provenance.prompt,
        seed: provenance.seed,
        source_blake3: provenance.source_blake3,
        parameters: provenance.parameters.into_iter().collect(),
        cost_usd: provenance.cost_usd,
        duration_us: microseconds(provenance.duration),
    }
}

fn provenance_message(provenance: Provenance) -> generator::Provenance {
    generator::Provenance {
        backend: provenance.backend,
        backend_version: provenance.backend_version,
        prompt: provenance.prompt,
        seed: provenance.seed,
        source_blake3: provenance.source_blake3,
        parameters: provenance.parameters.into_iter().collect(),
        cost_usd: provenance.cost_usd,
        duration: Some(duration(provenance.duration_us)),
    }
}

/// A stored candidate as a message, with its own and its source's image where given.
pub(super) fn message(
    candidate: Candidate,
    dataset: &Dataset,
    (image, source): (Option<Image>, Option<Image>),
) -> Result<v1::ListCandidatesResponse, StoreError> {
    let verdict = |verdict| verdict_message(verdict, &candidate.id);
    Ok(v1::ListCandidatesResponse {
        verdicts: candidate.verdicts.into_iter().map(verdict).collect(),
        slot_id: candidate.slot_id,
        attempt: candidate.attempt,
        source_image_id: candidate.source_image_id,
        source_label: dataset.label(candidate.source_label)?.to_owned(),
        target_label: dataset.label(candidate.target)?.to_owned(),
        settlement: settlement_message(candidate.settlement).into(),
        rejected_by: candidate.rejected_by,
        provenance: Some(provenance_message(candidate.provenance)),
        truth: candidate.fault.map(|fault| generator::Truth { fault }),
        image,
        source,
        error: candidate.error,
        candidate_id: candidate.id,
    })
}

pub(super) fn settlement_message(settlement: Settlement) -> v1::Settlement {
    match settlement {
        Settlement::Admitted => v1::Settlement::Admitted,
        Settlement::Refunded => v1::Settlement::Refunded,
        Settlement::Exhausted => v1::Settlement::Exhausted,
        Settlement::Duplicate => v1::Settlement::Duplicate,
        Settlement::CapReached => v1::Settlement::CapReached,
    }
}

/// A duration in microseconds; 0 where absent.
pub(super) fn microseconds(duration: Option<Duration>) -> i64 {
    let Duration { seconds, nanos } = duration.unwrap_or_default();
    seconds
        .saturating_mul(1_000_000)
        .saturating_add(i64::from(nanos) / 1_000)
}

/// A duration from microseconds.
pub(super) fn duration(microseconds: i64) -> Duration {
    let nanos = i32::try_from(microseconds % 1_000_000 * 1_000).unwrap_or(0);
    Duration {
        seconds: microseconds / 1_000_000,
        nanos,
    }
}
