//! Slots: the plan of a run. Adding, leasing in turn, giving back.
//!
//! A slot is open until it is accepted or exhausted. An open slot is leased while its lease lies ahead; an expired lease
//! needs no clean-up, the slot is simply free again. A lease keeps other orchestrators off a slot; that an attempt ends
//! only once is the attempt number's doing (see [`crate::admission`]).

use std::collections::HashMap;

use sqlx::FromRow;

use crate::{
    cap::cap,
    database::Connection,
    dataset::{self, Dataset},
    error::StoreError,
    runs::{self, Run},
    store::Store,
};

const MAX_LEASES: u32 = 1_000;
const MAX_PAUSED: usize = 64;
/// Longest lease in milliseconds.
pub(crate) const MAX_TTL_MS: i64 = 3_600_000;
const MIN_TTL_MS: i64 = 1_000;

/// One planned slot; see `saga.labelstore.v1.SlotPlan`.
#[derive(Clone, Debug)]
pub struct SlotPlan {
    pub target_label: String,
    pub ordinal: u32,
    pub source_image_ids: Vec<String>,
    pub tries_per_source: u32,
}

/// A leased slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub id: String,
    pub target_label: String,
    pub ordinal: u32,
    pub attempt: u32,
    /// Sources with tries left, in order of preference; at least one.
    pub sources: Vec<Source>,
    /// Candidates of the run that were settled when this attempt was first leased.
    pub settled: u64,
    /// Backends that could not be asked then.
    pub paused: Vec<String>,
}

/// A source image of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub image_id: String,
    pub label: String,
}

/// A slot as stored.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct SlotRow {
    pub(crate) id: String,
    pub(crate) run_id: String,
    pub(crate) target: i64,
    pub(crate) ordinal: i64,
    sources: String,
    tries_per_source: i64,
    pub(crate) attempt: i64,
    pub(crate) state: String,
    settled: Option<i64>,
    paused: Option<String>,
}

impl SlotRow {
    fn paused(&self) -> Result<Vec<String>, StoreError> {
        let Some(paused) = &self.paused else {
            return Ok(Vec::new());
        };
        serde_json::from_str(paused)
            .map_err(|e| StoreError::Corrupt(format!("paused backends of slot {}: {e}", self.id)))
    }

    /// The images that the present attempt may start from, in order of preference, and whether it is the last attempt.
    pub(crate) async fn sources_left(
        &self,
        connection: &mut Connection,
    ) -> Result<(Vec<String>, bool), StoreError> {
        let mut sources: Vec<String> = serde_json::from_str(&self.sources)
            .map_err(|e| StoreError::Corrupt(format!("sources of slot {}: {e}", self.id)))?;
        let all = i64::try_from(sources.len()).unwrap_or(i64::MAX);
        let last = self.attempt + 1 >= all.saturating_mul(self.tries_per_source);
        let used: Vec<String> = sqlx::query_scalar(
            "SELECT source_image_id FROM candidates WHERE slot_id = $1
             GROUP BY source_image_id HAVING COUNT(*) >= $2",
        )
        .bind(&self.id)
        .bind(self.tries_per_source)
        .fetch_all(connection)
        .await?;
        sources.retain(|source| !used.contains(source));
        if sources.is_empty() {
            let what = format!("attempt {} of slot {}", self.attempt, self.id);
            return Err(StoreError::Corrupt(what));
        }
        Ok((sources, last))
    }
}

/// Adds slots that are not there yet; returns how many were new. All of them or, on an error, none.
///
/// # Errors
/// A field of a slot, by its index; sources must be real train images of the run's data set.
pub async fn add(store: &Store, run_id: &str, plans: &[SlotPlan]) -> Result<u32, StoreError> {
    let run = runs::get(store, run_id).await?;
    let (dataset, _) = dataset::get_divided(store, &run.dataset_id).await?;
    let sides = sides(store, &dataset.id).await?;
    let mut transaction = store.database.write().await?;
    fix_targets(store, &mut transaction, &run, &dataset).await?;
    let mut added = 0;
    for (i, plan) in plans.iter().enumerate() {
        let target = dataset.index(&format!("slots[{i}].target_label"), &plan.target_label)?;
        check_plan(i, plan, &sides)?;
        let inserted = sqlx::query(
            "INSERT INTO slots (id, run_id, target, ordinal, sources, tries_per_source)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (run_id, target, ordinal) DO NOTHING",
        )
        .bind(format!(
            "{run_id}/{}/{:05}",
            plan.target_label, plan.ordinal
        ))
        .bind(run_id)
        .bind(target)
        .bind(i64::from(plan.ordinal))
        .bind(serde_json::json!(plan.source_image_ids).to_string())
        .bind(i64::from(plan.tries_per_source))
        .execute(&mut *transaction)
        .await?;
        added += inserted.rows_affected() as u32;
    }
    transaction.commit().await?;
    Ok(added)
}

async fn sides(store: &Store, dataset_id: &str) -> Result<HashMap<String, String>, StoreError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT id, split FROM images WHERE dataset_id = $1")
            .bind(dataset_id)
            .fetch_all(&mut *store.database.read().await?)
            .await?;
    Ok(rows.into_iter().collect())
}

fn check_plan(
    i: usize,
    plan: &SlotPlan,
    sides: &HashMap<String, String>,
) -> Result<(), StoreError> {
    if plan.tries_per_source == 0 {
        return Err(StoreError::invalid(
            format!("slots[{i}].tries_per_source"),
            "must be at least 1",
        ));
    }
    let field = || format!("slots[{i}].source_image_ids");
    if plan.source_image_ids.is_empty() {
        return Err(StoreError::invalid(
            field(),
            "is empty; name at least one real train image",
        ));
    }
    for (n, source) in plan.source_image_ids.iter().enumerate() {
        if plan
            .source_image_ids
            .iter()
            .take(n)
            .any(|other| other == source)
        {
            return Err(StoreError::invalid(
                field(),
                format!("names '{source}' twice"),
            ));
        }
        match sides.get(source).map(String::as_str) {
            Some("train") => {}
            Some("golden") => return Err(StoreError::GoldenSealed),
            _ => {
                return Err(StoreError::invalid(
                    field(),
                    format!("'{source}' is not a train image of the run's data set"),
                ));
            }
        }
    }
    Ok(())
}

/// Fixes what the run may add to each class. The split is for good, so these figures are too.
async fn fix_targets(
    store: &Store,
    connection: &mut Connection,
    run: &Run,
    dataset: &Dataset,
) -> Result<(), StoreError> {
    let counts = dataset::counts(store, dataset).await?;
    let largest = counts.iter().map(|c| c.train).max().unwrap_or(0);
    let size = run
        .class_size
        .map_or(largest, |size| u32::try_from(size).unwrap_or(u32::MAX));
    for (label, class) in (0i64..).zip(&counts) {
        sqlx::query(
            "INSERT INTO targets (run_id, label, label_name, real_count, cap) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (run_id, label) DO NOTHING",
        )
        .bind(&run.id)
        .bind(label)
        .bind(&class.label)
        .bind(i64::from(class.train))
        .bind(i64::from(cap(class.train, run.max_synthetic_fraction, size)))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Leases up to `limit` free slots to `holder` for `ttl_ms`: the lowest ordinal of every target, then the next, which
/// visits the targets in turn. What is first leased is noted with the backends that are `paused`. Also returns how many slots
/// are open in all.
pub async fn lease(
    store: &Store,
    run_id: &str,
    holder: &str,
    limit: u32,
    ttl_ms: i64,
    paused: &[String],
) -> Result<(Vec<Slot>, u32), StoreError> {
    check_lease(holder, limit, ttl_ms, paused)?;
    let run = runs::get(store, run_id).await?;
    let mut transaction = store.database.write().await?;
    let now = store.clock.now();
    let mut rows: Vec<SlotRow> = sqlx::query_as(
        "UPDATE slots SET holder = $1, lease_expires = $2, settled = COALESCE(settled,
             (SELECT COALESCE(MAX(position) + 1, 0) FROM candidates WHERE run_id = $3)),
             paused = CASE WHEN settled IS NULL THEN $6 ELSE paused END
         WHERE id IN (
             SELECT id FROM slots WHERE run_id = $3 AND state = 'open' AND lease_expires <= $4
             ORDER BY ordinal, target LIMIT $5)
         RETURNING id, run_id, target, ordinal, sources, tries_per_source, attempt, state, settled, paused",
    )
    .bind(holder)
    .bind(now.saturating_add(ttl_ms))
    .bind(run_id)
    .bind(now)
    .bind(i64::from(limit))
    .bind(serde_json::json!(paused).to_string())
    .fetch_all(&mut *transaction)
    .await?;
    rows.sort_by_key(|row| (row.ordinal, row.target));
    let slots = describe(store, &mut transaction, &run, rows).await?;
    let open: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM slots WHERE run_id = $1 AND state = 'open'")
            .bind(run_id)
            .fetch_one(&mut *transaction)
            .await?;
    transaction.commit().await?;
    Ok((slots, u32::try_from(open).unwrap_or(u32::MAX)))
}

fn check_lease(holder: &str, limit: u32, ttl_ms: i64, paused: &[String]) -> Result<(), StoreError> {
    if holder.is_empty() {
        return Err(StoreError::invalid(
            "holder",
            "is empty; give a stable name of the orchestrator",
        ));
    }
    if !(1..=MAX_LEASES).contains(&limit) {
        return Err(StoreError::invalid(
            "limit",
            format!("{limit} is not within 1 to {MAX_LEASES}"),
        ));
    }
    if !(MIN_TTL_MS..=MAX_TTL_MS).contains(&ttl_ms) {
        return Err(StoreError::invalid(
            "ttl",
            format!("{ttl_ms} ms is not within 1 second to 1 hour"),
        ));
    }
    if paused.len() > MAX_PAUSED {
        let why = format!("{} given; at most {MAX_PAUSED} are taken", paused.len());
        return Err(StoreError::invalid("paused_backends", why));
    }
    Ok(())
}

async fn describe(
    store: &Store,
    connection: &mut Connection,
    run: &Run,
    rows: Vec<SlotRow>,
) -> Result<Vec<Slot>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let dataset = dataset::get(store, &run.dataset_id).await?;
    let mut slots = Vec::with_capacity(rows.len());
    for row in rows {
        let mut sources = Vec::new();
        for image_id in row.sources_left(connection).await?.0 {
            let label: i64 = sqlx::query_scalar("SELECT label FROM images WHERE id = $1")
                .bind(&image_id)
                .fetch_one(&mut *connection)
                .await?;
            let label = dataset.label(label)?.to_owned();
            sources.push(Source { image_id, label });
        }
        slots.push(Slot {
            target_label: dataset.label(row.target)?.to_owned(),
            ordinal: u32::try_from(row.ordinal).unwrap_or(u32::MAX),
            attempt: u32::try_from(row.attempt).unwrap_or(u32::MAX),
            settled: row.settled.unwrap_or_default().cast_unsigned(),
            paused: row.paused()?,
            id: row.id,
            sources,
        });
    }
    Ok(slots)
}

/// Gives back every lease of a holder; returns how many lay ahead still.
pub async fn release(store: &Store, run_id: &str, holder: &str) -> Result<u32, StoreError> {
    runs::get(store, run_id).await?;
    let mut transaction = store.database.write().await?;
    let released = sqlx::query(
        "UPDATE slots SET holder = '', lease_expires = 0
         WHERE run_id = $1 AND holder = $2 AND state = 'open' AND lease_expires > $3",
    )
    .bind(run_id)
    .bind(holder)
    .bind(store.clock.now())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(released.rows_affected() as u32)
}

/// One slot of a run.
pub(crate) async fn find(
    connection: &mut Connection,
    run_id: &str,
    slot_id: &str,
) -> Result<SlotRow, StoreError> {
    let row: Option<SlotRow> = sqlx::query_as(
        "SELECT id, run_id, target, ordinal, sources, tries_per_source, attempt, state, settled, paused FROM slots
         WHERE id = $1 AND run_id = $2",
    )
    .bind(slot_id)
    .bind(run_id)
    .fetch_optional(connection)
    .await?;
    row.ok_or_else(|| StoreError::NotFound {
        reason: "NO_SUCH_SLOT",
        message: format!("run '{run_id}' has no slot '{slot_id}'"),
    })
}
