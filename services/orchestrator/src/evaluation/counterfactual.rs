//! What a gate alone kept out. A rejection ends the cascade, so the verdicts of the gates after it are missing in the store: the
//! candidates that the gate rejected are judged once more, by all gates but that one.
//!
//! Near-duplicates are not looked for again, and the plan is taken as it was made: without the gate, later attempts of a slot
//! would not have been asked for.

use std::collections::BTreeSet;

use futures::{TryStreamExt as _, future};
use saga_client::Priority;
use saga_proto::{guard::v1::Candidate, labelstore::v1::ListCandidatesResponse};

use crate::{
    guard::Guard,
    run::{RunContext, RunError, bounded, read},
};

/// Ids of the candidates that `gate` rejected and every other gate accepts. The gates' models must be loaded.
pub(crate) async fn passed_without(
    context: &RunContext,
    gate: &str,
) -> Result<BTreeSet<String>, RunError> {
    let guard = others(context, gate)?;
    let rejected = read::candidates(context, true)
        .await?
        .try_filter(|candidate| future::ready(candidate.rejected_by == gate));
    bounded::each(rejected, |candidate| accepted(&guard, candidate))
        .try_filter_map(future::ok)
        .try_collect()
        .await
}

/// The run's cascade without one gate.
fn others(context: &RunContext, gate: &str) -> Result<Guard, RunError> {
    let gates = context.recipe.gates.iter();
    let others = gates.filter(|other| other.name != gate).cloned();
    Ok(context.with_gates(others.collect())?.guard)
}

/// The candidate's id if all gates of the guard accept it.
async fn accepted(
    guard: &Guard,
    candidate: ListCandidatesResponse,
) -> Result<Option<String>, RunError> {
    let question = Candidate {
        candidate_id: candidate.candidate_id,
        candidate: candidate.image,
        source: candidate.source,
        target_label: candidate.target_label,
        recipe: String::new(),
    };
    let decision = guard.check(&question, Priority::Low).await?;
    Ok(decision.accepted.then_some(question.candidate_id))
}
