//! What the arms came to, as the label store counts it. A settled candidate never changes, so counts only grow.

use std::collections::BTreeMap;

use saga_proto::labelstore::v1::{self, GetArmsRequest};
use tokio::sync::Mutex;

use super::{RunContext, RunError};
use crate::plan::{Arm, Tally};

/// Tally of each arm with a candidate.
pub(super) type ByArm = BTreeMap<Arm, Tally>;

/// The arms of a run's first candidates, up to the furthest that were asked for.
#[derive(Debug, Default)]
pub(super) struct Tallies(Mutex<(u64, ByArm)>);

impl Tallies {
    /// The arms of the first `settled` candidates.
    pub(super) async fn of_first(
        &self,
        context: &RunContext,
        settled: u64,
    ) -> Result<ByArm, RunError> {
        let mut counted = self.0.lock().await;
        let (furthest, arms) = &mut *counted;
        if settled < *furthest {
            // An attempt that was leased earlier must not know more than it did then.
            return Ok(by_arm(count(context, 0, Some(settled)).await?));
        }
        if settled > *furthest {
            for (arm, tally) in by_arm(count(context, *furthest, Some(settled)).await?) {
                arms.entry(arm).or_default().add(tally);
            }
            *furthest = settled;
        }
        Ok(arms.clone())
    }
}

/// The arms of the run's candidates from number `first` up to but without number `end`.
pub(super) async fn count(
    context: &RunContext,
    first: u64,
    end: Option<u64>,
) -> Result<Vec<v1::Arm>, RunError> {
    let request = GetArmsRequest {
        run_id: context.run_id.clone(),
        first,
        end,
    };
    let runs = &context.services.runs;
    let answer = runs
        .call(request, |mut runs, request| async move {
            runs.get_arms(request).await
        })
        .await?;
    Ok(answer.arms)
}

fn by_arm(arms: Vec<v1::Arm>) -> ByArm {
    let pair = |arm: v1::Arm| {
        let tally = Tally {
            attempts: arm.attempts,
            accepted: arm.accepted,
            cost_usd: arm.cost_usd,
        };
        let arm = Arm {
            source: arm.source_label,
            target: arm.target_label,
            text: arm.prompt_text,
            backend: arm.backend,
        };
        (arm, tally)
    };
    arms.into_iter().map(pair).collect()
}
