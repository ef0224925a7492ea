//! The grid of samples: source, candidate and verdicts side by side.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use saga_proto::{
    gate::v1::Verdict,
    generator::v1::Fault,
    labelstore::v1::{ListCandidatesResponse, Settlement},
    r#type::v1::Image,
};
use serde::Serialize;

/// Samples shown of each way a candidate ended.
const PER_OUTCOME: usize = 12;

/// One row of the grid.
#[derive(Debug, Serialize)]
pub struct Sample {
    source: String,
    candidate: String,
    source_label: String,
    target_label: String,
    accepted: bool,
    outcome: String,
    /// What the generator planted; empty where it does not know.
    truth: String,
    verdicts: Vec<Score>,
}

#[derive(Debug, Serialize)]
struct Score {
    gate: String,
    score: f64,
    accepted: bool,
    min: Option<f64>,
    max: Option<f64>,
}

/// At most [`PER_OUTCOME`] candidates of each outcome, accepted ones first, as data URIs.
pub fn grid(candidates: &[ListCandidatesResponse]) -> Vec<Sample> {
    let mut shown: HashMap<String, usize> = HashMap::new();
    let mut samples: Vec<Sample> = candidates
        .iter()
        .filter(|candidate| {
            candidate
                .image
                .as_ref()
                .is_some_and(|image| !image.data.is_empty())
        })
        .filter(|candidate| {
            let count = shown.entry(outcome(candidate)).or_default();
            *count += 1;
            *count <= PER_OUTCOME
        })
        .map(sample)
        .collect();
    samples.sort_by(|a, b| {
        b.accepted
            .cmp(&a.accepted)
            .then_with(|| a.outcome.cmp(&b.outcome))
    });
    samples
}

fn sample(candidate: &ListCandidatesResponse) -> Sample {
    Sample {
        source: candidate.source.as_ref().map(data_uri).unwrap_or_default(),
        candidate: candidate.image.as_ref().map(data_uri).unwrap_or_default(),
        source_label: candidate.source_label.clone(),
        target_label: candidate.target_label.clone(),
        accepted: candidate.settlement() == Settlement::Admitted,
        outcome: outcome(candidate),
        truth: candidate
            .truth
            .as_ref()
            .map(|truth| fault_name(truth.fault()))
            .unwrap_or_default(),
        verdicts: candidate.verdicts.iter().map(score).collect(),
    }
}

fn score(verdict: &Verdict) -> Score {
    Score {
        gate: verdict.gate.clone(),
        score: verdict.score,
        accepted: verdict.accepted,
        min: verdict.threshold_min,
        max: verdict.threshold_max,
    }
}

fn outcome(candidate: &ListCandidatesResponse) -> String {
    match candidate.settlement() {
        Settlement::Admitted => "accepted".to_owned(),
        Settlement::Duplicate => "duplicate".to_owned(),
        Settlement::CapReached => "class full".to_owned(),
        _ => format!("rejected by {}", candidate.rejected_by),
    }
}

/// The fault in words; empty where unknown.
fn fault_name(fault: Fault) -> String {
    match fault {
        Fault::Unspecified => String::new(),
        Fault::None => "good edit".to_owned(),
        fault => fault
            .as_str_name()
            .trim_start_matches("FAULT_")
            .to_lowercase()
            .replace('_', " "),
    }
}

fn data_uri(image: &Image) -> String {
    let media_type = match &*image.data {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        [b'G', b'I', b'F', ..] => "image/gif",
        _ => "image/jpeg",
    };
    format!("data:{media_type};base64,{}", BASE64.encode(&image.data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(settlement: Settlement, rejected_by: &str) -> ListCandidatesResponse {
        ListCandidatesResponse {
            settlement: settlement.into(),
            rejected_by: rejected_by.to_owned(),
            image: Some(Image {
                data: vec![0x89, b'P', b'N', b'G'].into(),
                blake3: String::new(),
            }),
            ..Default::default()
        }
    }

    #[test]
    fn every_outcome_is_shown_and_none_floods_the_grid() {
        let mut candidates = vec![candidate(Settlement::Refunded, "ssim"); 100];
        candidates.push(candidate(Settlement::Admitted, ""));
        let grid = grid(&candidates);
        assert_eq!(grid.len(), PER_OUTCOME + 1);
        assert!(grid[0].accepted);
        assert_eq!(grid[1].outcome, "rejected by ssim");
        assert!(
            grid[0]
                .candidate
                .starts_with("data:image/png;base64,iVBORw==")
        );
    }
}
