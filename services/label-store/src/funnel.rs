//! Counts of a run: slots by target, candidates by what became of them and by the fault planted in them.

use std::collections::BTreeMap;

use sqlx::FromRow;

use crate::{database::Connection, error::StoreError, runs, store::Store};

/// Slots of one target.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct TargetFunnel {
    pub label: String,
    /// Real train images.
    pub real: i64,
    pub planned: i64,
    pub accepted: i64,
    pub exhausted: i64,
    pub open: i64,
}

/// Candidates with one fault.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct FaultCounts {
    /// By its number in the contract.
    pub fault: i64,
    pub generated: i64,
    /// Before duplicate and cap checks.
    pub passed_gates: i64,
    pub admitted: i64,
}

/// All counts of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Funnel {
    /// Targets with slots, in label order.
    pub targets: Vec<TargetFunnel>,
    pub rejected_by: BTreeMap<String, u64>,
    /// By message.
    pub errors: BTreeMap<String, u64>,
    /// Candidates with an image.
    pub generated: u64,
    pub accepted: u64,
    pub faults: Vec<FaultCounts>,
    pub cost_usd: f64,
}

/// Counts a run, all figures at one moment.
pub async fn funnel(store: &Store, run_id: &str) -> Result<Funnel, StoreError> {
    runs::get(store, run_id).await?;
    let mut connection = store.database.read().await?;
    let mut snapshot = sqlx::Connection::begin(&mut *connection).await?;
    let (generated, accepted, cost_usd): (i64, i64, f64) = sqlx::query_as(
        "SELECT COUNT(blake3), COUNT(CASE WHEN settlement = 'admitted' THEN 1 END), COALESCE(SUM(cost_usd), 0.0)
         FROM candidates WHERE run_id = $1",
    )
    .bind(run_id)
    .fetch_one(&mut *snapshot)
    .await?;
    Ok(Funnel {
        targets: targets(&mut snapshot, run_id).await?,
        rejected_by: tally(
            &mut snapshot,
            "SELECT rejected_by, COUNT(*) FROM candidates WHERE run_id = $1 AND rejected_by <> '' GROUP BY rejected_by",
            run_id,
        )
        .await?,
        errors: tally(
            &mut snapshot,
            "SELECT error, COUNT(*) FROM candidates WHERE run_id = $1 AND rejected_by = 'error' GROUP BY error",
            run_id,
        )
        .await?,
        generated: generated.cast_unsigned(),
        accepted: accepted.cast_unsigned(),
        faults: faults(&mut snapshot, run_id).await?,
        cost_usd,
    })
}

async fn targets(
    connection: &mut Connection,
    run_id: &str,
) -> Result<Vec<TargetFunnel>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT t.label_name AS label, t.real_count AS real, COUNT(*) AS planned,
             COUNT(CASE WHEN s.state = 'accepted' THEN 1 END) AS accepted,
             COUNT(CASE WHEN s.state = 'exhausted' THEN 1 END) AS exhausted,
             COUNT(CASE WHEN s.state = 'open' THEN 1 END) AS open
         FROM targets t JOIN slots s ON s.run_id = t.run_id AND s.target = t.label
         WHERE t.run_id = $1 GROUP BY t.label, t.label_name, t.real_count ORDER BY t.label",
    )
    .bind(run_id)
    .fetch_all(connection)
    .await?)
}

async fn faults(connection: &mut Connection, run_id: &str) -> Result<Vec<FaultCounts>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT fault, COUNT(*) AS generated, COUNT(CASE WHEN passed_gates THEN 1 END) AS passed_gates,
             COUNT(CASE WHEN settlement = 'admitted' THEN 1 END) AS admitted
         FROM candidates WHERE run_id = $1 AND fault IS NOT NULL AND blake3 IS NOT NULL GROUP BY fault ORDER BY fault",
    )
    .bind(run_id)
    .fetch_all(connection)
    .await?)
}

async fn tally(
    connection: &mut Connection,
    statement: &'static str,
    run_id: &str,
) -> Result<BTreeMap<String, u64>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(statement)
        .bind(run_id)
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(word, n)| (word, n.cast_unsigned()))
        .collect())
}
