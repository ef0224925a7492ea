//! A stream answers every item once, bad ones with their error, and as a unary call would.

use std::collections::HashMap;

use futures::StreamExt;
use saga_proto::gate::v1::evaluate_stream_response::Outcome;
use saga_proto::gate::v1::{EvaluateStreamRequest, Item};

use super::Report;
use super::items::bad_items;
use super::subject::{Subject, refuses, status_of};
use super::verdicts::{SCORE_TOLERANCE, consistent};

/// What an item of the stream should be answered with.
enum Expected {
    Verdict,
    Refusal(&'static str),
}

pub(super) async fn check(subject: &mut Subject, report: &mut Report) {
    report.add("an empty stream ends without answers", empty(subject).await);
    report.add(
        "a stream answers every item once, and a bad one does not end it",
        mixed(subject).await,
    );
}

async fn empty(subject: &mut Subject) -> Result<(), String> {
    let answers = exchange(subject, Vec::new()).await?;
    if answers.is_empty() {
        Ok(())
    } else {
        Err(format!("{} answers", answers.len()))
    }
}

async fn mixed(subject: &mut Subject) -> Result<(), String> {
    let unary = subject.verdict(subject.item("conformance-stream")).await?;
    let mut expected = HashMap::new();
    let mut requests = Vec::new();
    // Sequences belong to the caller: here they fall, with gaps, from the largest there is.
    let mut sequence = u64::MAX;
    let mut add = |item: Option<Item>, outcome: Expected| {
        requests.push(EvaluateStreamRequest { sequence, item });
        expected.insert(sequence, outcome);
        sequence -= 3;
    };
    for bad in bad_items(subject) {
        add(bad.item, Expected::Refusal(bad.field));
        add(Some(subject.item("conformance-stream")), Expected::Verdict);
    }
    for (sequence, outcome) in exchange(subject, requests).await? {
        let told = |failure: String| format!("sequence {sequence}: {failure}");
        let expected = expected
            .remove(&sequence)
            .ok_or_else(|| told("answered twice, or never asked".to_owned()))?;
        match (expected, outcome) {
            (Expected::Verdict, Some(Outcome::Verdict(verdict))) => {
                consistent(&verdict).map_err(told)?;
                if verdict.candidate_id != unary.candidate_id
                    || (verdict.score - unary.score).abs() > SCORE_TOLERANCE
                {
                    return Err(told(format!(
                        "score {} where the unary call had {}",
                        verdict.score, unary.score
                    )));
                }
            }
            (Expected::Refusal(field), Some(Outcome::Error(error))) => {
                refuses(&status_of(&error), field).map_err(told)?
            }
            (Expected::Verdict, Some(Outcome::Error(error))) => return Err(told(error.message)),
            (Expected::Refusal(field), Some(Outcome::Verdict(_))) => {
                return Err(told(format!("a verdict where {field} is bad")));
            }
            (_, None) => return Err(told("neither verdict nor error".to_owned())),
        }
    }
    if expected.is_empty() {
        Ok(())
    } else {
        Err(format!("{} items have no answer", expected.len()))
    }
}

/// Sends all requests and reads the stream to its end.
async fn exchange(
    subject: &mut Subject,
    requests: Vec<EvaluateStreamRequest>,
) -> Result<Vec<(u64, Option<Outcome>)>, String> {
    let failed = |status: tonic::Status| {
        format!(
            "the stream ended with {:?}: {}",
            status.code(),
            status.message()
        )
    };
    let answers = subject
        .client
        .evaluate_stream(futures::stream::iter(requests))
        .await
        .map_err(failed)?;
    let answers: Vec<_> = answers.into_inner().collect().await;
    answers
        .into_iter()
        .map(|answer| answer.map(|a| (a.sequence, a.outcome)).map_err(failed))
        .collect()
}
