//! What each arm came to: source class, target class, text and backend, counted from the candidates.

use std::ops::Range;

use sqlx::FromRow;

use crate::{dataset, error::StoreError, runs, store::Store};

/// Candidates of one arm; see `saga.labelstore.v1.Arm`.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    pub source_label: String,
    pub target_label: String,
    pub prompt_text: String,
    pub backend: String,
    /// Ended, whatever way.
    pub attempts: u64,
    pub accepted: u64,
    pub cost_usd: f64,
}

#[derive(FromRow)]
struct ArmRow {
    source: i64,
    target: i64,
    prompt_text: String,
    backend: String,
    attempts: i64,
    accepted: i64,
    cost_usd: f64,
}

/// The arms of a run's candidates at these positions in the order of settlement. A settled candidate never changes, so
/// the same positions always give the same figures.
pub async fn arms(
    store: &Store,
    run_id: &str,
    positions: Range<u64>,
) -> Result<Vec<Arm>, StoreError> {
    let run = runs::get(store, run_id).await?;
    let position = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let rows: Vec<ArmRow> = sqlx::query_as(
        "SELECT i.label AS source, c.target, c.prompt_text, c.backend, COUNT(*) AS attempts,
             COUNT(CASE WHEN c.settlement = 'admitted' THEN 1 END) AS accepted, SUM(c.cost_usd) AS cost_usd
         FROM candidates c JOIN images i ON i.id = c.source_image_id
         WHERE c.run_id = $1 AND c.position >= $2 AND c.position < $3
         GROUP BY c.target, i.label, c.prompt_text, c.backend
         ORDER BY c.target, i.label, c.prompt_text, c.backend",
    )
    .bind(run_id)
    .bind(position(positions.start))
    .bind(position(positions.end))
    .fetch_all(&mut *store.database.read().await?)
    .await?;
    if rows.is_empty() {
        // Nor need the data set be there yet.
        return Ok(Vec::new());
    }
    let dataset = dataset::get(store, &run.dataset_id).await?;
    let arm = |row: ArmRow| {
        Ok(Arm {
            source_label: dataset.label(row.source)?.to_owned(),
            target_label: dataset.label(row.target)?.to_owned(),
            prompt_text: row.prompt_text,
            backend: row.backend,
            attempts: row.attempts.cast_unsigned(),
            accepted: row.accepted.cast_unsigned(),
            cost_usd: row.cost_usd,
        })
    };
    rows.into_iter().map(arm).collect()
}
