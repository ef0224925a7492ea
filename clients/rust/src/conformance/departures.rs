//! Callers that leave, or whose time is up, cost the others nothing.

use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, future::join_all};
use saga_proto::gate::v1::{EvaluateRequest, EvaluateStreamRequest, Verdict};
use tonic::{Code, Request};

use super::Report;
use super::subject::Subject;
use super::verdicts::SCORE_TOLERANCE;

/// Callers of each kind.
const CALLERS: usize = 16;

/// How long the queue may have no room after they left.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn check(subject: &mut Subject, report: &mut Report) {
    report.add(
        "a call whose deadline has passed ends with DEADLINE_EXCEEDED or CANCELLED",
        expired(subject).await,
    );
    report.add(
        "callers that leave their calls and streams keep nobody else from an answer",
        departed(subject).await,
    );
}

async fn expired(subject: &mut Subject) -> Result<(), String> {
    let calls = (0..CALLERS).map(|_| {
        let mut client = subject.client.clone();
        let item = Some(subject.item("conformance-expired"));
        let mut request = Request::new(EvaluateRequest { item });
        request.set_timeout(Duration::from_nanos(1));
        async move { client.evaluate(request).await }
    });
    for answer in join_all(calls).await {
        match answer.map_err(|status| status.code()) {
            // Both sides keep the time; who is first, ends the call.
            Err(Code::DeadlineExceeded | Code::Cancelled) => {}
            Err(code) => return Err(format!("{code:?}")),
            Ok(_) => return Err("a verdict".to_owned()),
        }
    }
    Ok(())
}

async fn departed(subject: &mut Subject) -> Result<(), String> {
    let before = subject.verdict(subject.item("conformance-left")).await?;
    for _ in 0..CALLERS {
        let mut client = subject.client.clone();
        let item = Some(subject.item("conformance-left"));
        // Sent as far as it goes at once, then dropped.
        let _ = client.evaluate(EvaluateRequest { item }).now_or_never();
        let item = subject.item("conformance-left");
        let requests = (0..100).map(move |sequence| EvaluateStreamRequest {
            sequence,
            item: Some(item.clone()),
        });
        let requests = futures::stream::iter(requests);
        let answers = client.evaluate_stream(requests).await;
        let mut answers = answers.map_err(|status| status.to_string())?.into_inner();
        // Left after one of a hundred answers.
        let first = answers
            .next()
            .await
            .ok_or("the stream ended without answers")?;
        first.map_err(|status| status.to_string())?;
    }
    let after = answered(subject).await?;
    if (after.score - before.score).abs() > SCORE_TOLERANCE {
        return Err(format!(
            "score {} where it was {} before",
            after.score, before.score
        ));
    }
    Ok(())
}

/// A verdict, however often the queue still has no room: what the departed left in it goes when a worker comes to it.
async fn answered(subject: &mut Subject) -> Result<Verdict, String> {
    let started = Instant::now();
    loop {
        let answer = subject
            .evaluate(Some(subject.item("conformance-left")))
            .await;
        match answer {
            Err(status)
                if status.code() == Code::ResourceExhausted && started.elapsed() < PATIENCE => {}
            answer => return answer.map_err(|status| status.to_string()),
        }
    }
}
