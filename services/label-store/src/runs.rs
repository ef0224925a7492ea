//! Runs and their stages: what is being done, and how far it has come.

use sqlx::FromRow;

use crate::{dataset, error::StoreError, store::Store};

const MAX_PHASH_DISTANCE: i64 = 64;

/// A run; see `saga.labelstore.v1.Run`.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct Run {
    pub id: String,
    pub dataset_id: String,
    pub recipe_toml: String,
    /// The unsigned seed, reinterpreted.
    pub seed: i64,
    pub generator: String,
    pub max_synthetic_fraction: f64,
    pub max_phash_distance: Option<i64>,
    pub prompt_version: String,
    /// What a class is filled up to; `None`: the size of the largest class.
    pub class_size: Option<i64>,
}

/// A completed stage.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Stage {
    pub name: String,
    pub result_json: String,
    /// Microseconds.
    pub duration_us: i64,
}

fn check(run: &Run) -> Result<(), StoreError> {
    dataset::check_id("run.run_id", &run.id)?;
    dataset::check_id("run.dataset_id", &run.dataset_id)?;
    if !(0.0..=0.95).contains(&run.max_synthetic_fraction) {
        let why = format!("{} is not within 0 to 0.95", run.max_synthetic_fraction);
        return Err(StoreError::invalid("run.max_synthetic_fraction", why));
    }
    match run.max_phash_distance {
        Some(distance) if !(0..=MAX_PHASH_DISTANCE).contains(&distance) => {
            let why = format!("{distance} is not within 0 to {MAX_PHASH_DISTANCE}");
            Err(StoreError::invalid("run.max_phash_distance", why))
        }
        _ => Ok(()),
    }
}

/// Registers a run; whether it is new. Its data set may follow, before the first slot.
///
/// # Errors
/// [`StoreError::AlreadyExists`] where the id is taken by a run with other contents.
pub async fn create(store: &Store, run: &Run) -> Result<bool, StoreError> {
    check(run)?;
    let mut transaction = store.database.write().await?;
    let inserted = sqlx::query(
        "INSERT INTO runs (id, dataset_id, recipe_toml, seed, generator, max_synthetic_fraction, max_phash_distance,
         prompt_version, class_size, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(&run.id)
    .bind(&run.dataset_id)
    .bind(&run.recipe_toml)
    .bind(run.seed)
    .bind(&run.generator)
    .bind(run.max_synthetic_fraction)
    .bind(run.max_phash_distance)
    .bind(&run.prompt_version)
    .bind(run.class_size)
    .bind(store.clock.now())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    if inserted.rows_affected() == 0 && get(store, &run.id).await? != *run {
        let message = format!(
            "run '{}' exists with other contents; resume it as it was, or use another run_id",
            run.id
        );
        return Err(StoreError::AlreadyExists { message });
    }
    Ok(inserted.rows_affected() > 0)
}

/// The run of this id.
pub async fn get(store: &Store, id: &str) -> Result<Run, StoreError> {
    let row = sqlx::query_as(
        "SELECT id, dataset_id, recipe_toml, seed, generator, max_synthetic_fraction, max_phash_distance,
         prompt_version, class_size FROM runs WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(&mut *store.database.read().await?)
    .await?;
    row.ok_or_else(|| StoreError::NotFound {
        reason: "NO_SUCH_RUN",
        message: format!("there is no run '{id}'; create it first"),
    })
}

/// Records a stage; the first record of a name stays.
pub async fn complete_stage(store: &Store, run_id: &str, stage: &Stage) -> Result<(), StoreError> {
    get(store, run_id).await?;
    if stage.name.is_empty() {
        return Err(StoreError::invalid("stage.name", "is empty"));
    }
    if !stage.result_json.is_empty() {
        serde_json::from_str::<serde::de::IgnoredAny>(&stage.result_json)
            .map_err(|e| StoreError::invalid("stage.result_json", format!("is not JSON: {e}")))?;
    }
    let mut transaction = store.database.write().await?;
    sqlx::query(
        "INSERT INTO stages (run_id, name, position, result_json, duration_us)
         SELECT $1, $2, COUNT(*), $3, $4 FROM stages WHERE run_id = $1 ON CONFLICT (run_id, name) DO NOTHING",
    )
    .bind(run_id)
    .bind(&stage.name)
    .bind(&stage.result_json)
    .bind(stage.duration_us)
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}

/// Completed stages, in order of completion.
pub async fn stages(store: &Store, run_id: &str) -> Result<Vec<Stage>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT name, result_json, duration_us FROM stages WHERE run_id = $1 ORDER BY position",
    )
    .bind(run_id)
    .fetch_all(&mut *store.database.read().await?)
    .await?)
}
