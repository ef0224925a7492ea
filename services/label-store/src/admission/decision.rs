//! Which settlement a candidate gets: the rows of the table of [`super`], from the first to the last.

use super::{Attempt, Stored};
use crate::{
    candidate::Settlement,
    database::Connection,
    duplicates::{Duplicates, Edit},
    error::StoreError,
    runs::Run,
    slots::SlotRow,
};

/// What is to be settled.
pub(super) struct Case<'a> {
    pub(super) run: &'a Run,
    pub(super) slot: &'a SlotRow,
    pub(super) edit: Edit,
    /// The slot has no tries left after it.
    pub(super) last: bool,
    pub(super) attempt: &'a Attempt,
    pub(super) stored: Option<&'a Stored>,
}

/// The settlement, and who rejected.
pub(super) async fn decide<'a>(
    connection: &mut Connection,
    duplicates: &Duplicates,
    case: &Case<'a>,
) -> Result<(Settlement, &'a str), StoreError> {
    let (run, slot) = (case.run, case.slot);
    let accepted = case
        .stored
        .filter(|_| case.attempt.accepted)
        .and_then(|s| Some((s, s.picture?)));
    let Some((stored, picture)) = accepted else {
        return Ok((
            if case.last {
                Settlement::Exhausted
            } else {
                Settlement::Refunded
            },
            &case.attempt.rejected_by,
        ));
    };
    if same_bytes(connection, run, &stored.blake3).await? {
        return Ok((Settlement::Duplicate, "duplicate"));
    }
    let candidate = (&case.edit, picture.phash);
    if duplicates.has_near(connection, run, candidate).await? {
        return Ok((Settlement::Duplicate, "duplicate"));
    }
    let full: bool = sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM candidates WHERE run_id = $1 AND settlement = 'admitted' AND target = $2) >= cap
         FROM targets WHERE run_id = $1 AND label = $2",
    )
    .bind(&run.id)
    .bind(slot.target)
    .fetch_one(&mut *connection)
    .await?;
    if full {
        return Ok((Settlement::CapReached, "cap"));
    }
    Ok((Settlement::Admitted, ""))
}

/// Whether the data set or the run's accepted images hold these very bytes.
async fn same_bytes(
    connection: &mut Connection,
    run: &Run,
    blake3: &str,
) -> Result<bool, StoreError> {
    let n: i64 = sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM images WHERE dataset_id = $1 AND blake3 = $2)
              + (SELECT COUNT(*) FROM candidates WHERE run_id = $3 AND blake3 = $2 AND settlement = 'admitted')",
    )
    .bind(&run.dataset_id)
    .bind(blake3)
    .bind(&run.id)
    .fetch_one(connection)
    .await?;
    Ok(n > 0)
}
