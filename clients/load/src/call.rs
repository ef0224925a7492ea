//! One request and what became of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use saga_proto::{
    gate::v1::{EvaluateRequest, Verdict},
    r#type::v1::Timing,
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::{target::Target, workload::Workload};

/// Pause of a closed-loop caller after a refusal that does not say when to come back.
const PAUSE: Duration = Duration::from_millis(10);

/// How far apart two timers of the same deadline may go off.
const TIMER: Duration = Duration::from_millis(2);

/// Sends the requests of a load, and compares their answers with the oracle.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) target: Target,
    pub(crate) workload: Arc<Workload>,
    /// Largest difference of scores that counts as the same.
    pub(crate) tolerance: f64,
}

/// One answered request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// When the schedule wanted it sent.
    pub(crate) intended: Instant,
    /// When it was handed to the connection.
    pub(crate) sent: Instant,
    pub(crate) done: Instant,
    pub(crate) code: Code,
    /// Where the gate says the time went; absent in refusals.
    pub(crate) timing: Option<Timing>,
    /// What the oracle says otherwise.
    pub(crate) mismatch: Option<String>,
    /// How long to wait before the next request of the same caller.
    pub(crate) pause: Duration,
}

impl Answer {
    /// From when it should have been sent: a request that had to wait for its turn has waited.
    pub(crate) fn latency(&self) -> Duration {
        self.done.saturating_duration_since(self.intended)
    }

    /// How late the generator was.
    pub(crate) fn lateness(&self) -> Duration {
        self.sent.saturating_duration_since(self.intended)
    }
}

impl Caller {
    /// Sends the `sequence`-th request and waits for its answer, for `limit` from `intended`; the gate is told how much of
    /// that is left.
    pub(crate) async fn call(&self, sequence: u64, intended: Instant, limit: Duration) -> Answer {
        let sent = Instant::now();
        let late = sent.saturating_duration_since(intended);
        let left = limit.saturating_sub(late).max(Duration::from_millis(1));
        let outcome = tokio::time::timeout(left, self.evaluate(sequence, left)).await;
        let done = Instant::now();
        let mut answer = Answer {
            intended,
            sent,
            done,
            code: Code::Ok,
            timing: None,
            mismatch: None,
            pause: Duration::ZERO,
        };
        match outcome {
            Ok(Ok(verdict)) => {
                answer.mismatch = self.mismatch(sequence, &verdict);
                answer.timing = verdict.timing;
            }
            Ok(Err(status)) => {
                // tonic's client cancels a call whose time is over, and says so instead of DEADLINE_EXCEEDED.
                let over = status.code() == Code::Cancelled && done + TIMER >= sent + left;
                answer.code = if over {
                    Code::DeadlineExceeded
                } else {
                    status.code()
                };
                answer.pause = retry_after(&status);
            }
            Err(_) => answer.code = Code::DeadlineExceeded,
        }
        answer
    }

    async fn evaluate(&self, sequence: u64, left: Duration) -> Result<Verdict, Status> {
        let known = self.workload.item(sequence);
        let item = known.map(|known| {
            let mut item = known.item.clone();
            item.candidate_id = candidate_id(sequence);
            item
        });
        let mut request = Request::new(EvaluateRequest { item });
        request.set_timeout(left);
        let answer = self.target.client(sequence).evaluate(request).await?;
        let verdict = answer.into_inner().verdict;
        verdict.ok_or_else(|| Status::unknown("the answer holds no verdict"))
    }

    /// What is wrong with a verdict: the score of another item, or the answer to another request.
    fn mismatch(&self, sequence: u64, verdict: &Verdict) -> Option<String> {
        let known = self.workload.item(sequence)?;
        let asked = candidate_id(sequence);
        if verdict.candidate_id != asked {
            let got = &verdict.candidate_id;
            return Some(format!("{asked} was answered with the verdict of {got:?}"));
        }
        let deviation = (verdict.score - known.score).abs();
        // Written so that NaN is a mismatch too.
        let same = deviation <= self.tolerance;
        (!same).then(|| {
            format!(
                "{} scored {} alone and {} under load",
                known.name, known.score, verdict.score
            )
        })
    }
}

fn candidate_id(sequence: u64) -> String {
    format!("load-{sequence}")
}

fn retry_after(status: &Status) -> Duration {
    let info = status.get_details_retry_info();
    info.and_then(|info| info.retry_delay).unwrap_or(PAUSE)
}
