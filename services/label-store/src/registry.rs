//! The model registry: versions by name, what they were made of, and which of them serves.

use std::collections::BTreeMap;

use sqlx::FromRow;

use crate::{
    database::Connection,
    dataset::{self, check_id},
    error::StoreError,
    store::Store,
};

/// Most figures of a version.
const MAX_METRICS: usize = 64;
/// Longest directory or recipe, in bytes.
const MAX_TEXT: usize = 4_096;
/// Digits of a revision.
const REVISION: usize = 16;

/// What a version is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Candidate,
    Serving,
    Archived,
}

impl Stage {
    fn text(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Serving => "serving",
            Self::Archived => "archived",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Candidate, Self::Serving, Self::Archived]
            .into_iter()
            .find(|stage| stage.text() == text)
            .ok_or_else(|| StoreError::Corrupt(format!("stage {text} of a model")))
    }
}

/// What a model was made of; see `saga.labelstore.v1.ModelLineage`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    pub dataset_id: String,
    /// Empty: real images only.
    pub synthetic_run_id: String,
    /// Of the same name; 0: none.
    pub parent: u64,
    pub recipe: String,
    pub seed: u64,
}

/// A model to register.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewModel {
    pub name: String,
    pub directory: String,
    /// First 16 hexadecimal digits of the BLAKE3 of the weights.
    pub revision: String,
    pub lineage: Lineage,
    pub metrics: BTreeMap<String, f64>,
}

/// A version.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub model: NewModel,
    /// From 1.
    pub version: u64,
    /// BLAKE3 of the data as it was when the model was registered.
    pub dataset_snapshot: String,
    pub stage: Stage,
    /// Milliseconds since 1970, as is the next.
    pub registered_at: i64,
    pub staged_at: i64,
}

#[derive(FromRow)]
struct Row {
    name: String,
    version: i64,
    directory: String,
    revision: String,
    dataset_id: String,
    synthetic_run_id: String,
    dataset_snapshot: String,
    parent: i64,
    recipe: String,
    seed: i64,
    metrics: String,
    stage: String,
    registered_at: i64,
    staged_at: i64,
}

impl TryFrom<Row> for Version {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let metrics = serde_json::from_str(&row.metrics)
            .map_err(|error| StoreError::Corrupt(format!("metrics of {}: {error}", row.name)))?;
        Ok(Self {
            model: NewModel {
                name: row.name,
                directory: row.directory,
                revision: row.revision,
                lineage: Lineage {
                    dataset_id: row.dataset_id,
                    synthetic_run_id: row.synthetic_run_id,
                    parent: row.parent.cast_unsigned(),
                    recipe: row.recipe,
                    seed: row.seed.cast_unsigned(),
                },
                metrics,
            },
            version: row.version.cast_unsigned(),
            dataset_snapshot: row.dataset_snapshot,
            stage: Stage::parse(&row.stage)?,
            registered_at: row.registered_at,
            staged_at: row.staged_at,
        })
    }
}

fn check(model: &NewModel) -> Result<(), StoreError> {
    check_id("model.name", &model.name)?;
    for (field, text) in [
        ("model.directory", &model.directory),
        ("model.lineage.recipe", &model.lineage.recipe),
    ] {
        if text.is_empty() || text.len() > MAX_TEXT {
            let why = format!("has {} bytes; 1 to {MAX_TEXT} are taken", text.len());
            return Err(StoreError::invalid(field, why));
        }
    }
    let digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    if model.revision.len() != REVISION || !model.revision.chars().all(digit) {
        let why = format!(
            "'{}' is not {REVISION} lower-case hexadecimal digits",
            model.revision
        );
        return Err(StoreError::invalid("model.revision", why));
    }
    if model.metrics.len() > MAX_METRICS {
        let why = format!("are {}; {MAX_METRICS} are taken", model.metrics.len());
        return Err(StoreError::invalid("model.metrics", why));
    }
    match model.metrics.iter().find(|(_, value)| !value.is_finite()) {
        Some((name, value)) => Err(StoreError::invalid(
            format!("model.metrics[{name:?}]"),
            format!("is {value}; leave it out"),
        )),
        None => Ok(()),
    }
}

/// Adds a version as a candidate, or gives the one with these weights in this directory and of this lineage.
///
/// # Errors
/// A field out of range, a data set or parent that is not there.
pub async fn register(store: &Store, model: NewModel) -> Result<Version, StoreError> {
    check(&model)?;
    dataset::get(store, &model.lineage.dataset_id).await?;
    let metrics = serde_json::to_string(&model.metrics)
        .map_err(|error| StoreError::invalid("model.metrics", error.to_string()))?;
    let mut transaction = store.database.write().await?;
    let lineage = &model.lineage;
    let known: Option<Row> = sqlx::query_as(
        "SELECT * FROM models WHERE name = $1 AND revision = $2 AND directory = $3 AND dataset_id = $4
         AND synthetic_run_id = $5 AND parent = $6 AND recipe = $7 AND seed = $8",
    )
    .bind(&model.name)
    .bind(&model.revision)
    .bind(&model.directory)
    .bind(&lineage.dataset_id)
    .bind(&lineage.synthetic_run_id)
    .bind(lineage.parent.cast_signed())
    .bind(&lineage.recipe)
    .bind(lineage.seed.cast_signed())
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(known) = known {
        return known.try_into();
    }
    if lineage.parent > 0 {
        one(&mut transaction, &model.name, lineage.parent).await?;
    }
    let snapshot = snapshot(
        &mut transaction,
        &lineage.dataset_id,
        &lineage.synthetic_run_id,
    )
    .await?;
    let row: Row = sqlx::query_as(
        "INSERT INTO models (name, version, directory, revision, dataset_id, synthetic_run_id, dataset_snapshot, parent,
         recipe, seed, metrics, stage, registered_at, staged_at)
         SELECT $1, COALESCE(MAX(version), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12 FROM models WHERE name = $1
         RETURNING *",
    )
    .bind(&model.name)
    .bind(&model.directory)
    .bind(&model.revision)
    .bind(&lineage.dataset_id)
    .bind(&lineage.synthetic_run_id)
    .bind(snapshot)
    .bind(lineage.parent.cast_signed())
    .bind(&lineage.recipe)
    .bind(lineage.seed.cast_signed())
    .bind(metrics)
    .bind(Stage::Candidate.text())
    .bind(store.clock.now())
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    row.try_into()
}

/// Versions of a name, or of every name where it is empty; newest first, name by name.
pub async fn list(store: &Store, name: &str) -> Result<Vec<Version>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM models WHERE $1 = '' OR name = $1 ORDER BY name, version DESC",
    )
    .bind(name)
    .fetch_all(&mut *store.database.read().await?)
    .await?;
    rows.into_iter().map(Version::try_from).collect()
}

/// The version of a name that is to serve.
pub async fn serving(store: &Store, name: &str) -> Result<Option<Version>, StoreError> {
    check_id("name", name)?;
    let row: Option<Row> =
        sqlx::query_as("SELECT * FROM models WHERE name = $1 AND stage = 'serving'")
            .bind(name)
            .fetch_optional(&mut *store.database.read().await?)
            .await?;
    row.map(Version::try_from).transpose()
}

/// Gives a version its stage; where it is to serve, the one that did is archived.
///
/// # Errors
/// [`StoreError::NotFound`] where there is no such version.
pub async fn promote(
    store: &Store,
    name: &str,
    version: u64,
    stage: Stage,
) -> Result<Version, StoreError> {
    let now = store.clock.now();
    let mut transaction = store.database.write().await?;
    if stage == Stage::Serving {
        sqlx::query(
            "UPDATE models SET stage = 'archived', staged_at = $3
             WHERE name = $1 AND version <> $2 AND stage = 'serving'",
        )
        .bind(name)
        .bind(version.cast_signed())
        .bind(now)
        .execute(&mut *transaction)
        .await?;
    }
    sqlx::query("UPDATE models SET stage = $3, staged_at = $4 WHERE name = $1 AND version = $2")
        .bind(name)
        .bind(version.cast_signed())
        .bind(stage.text())
        .bind(now)
        .execute(&mut *transaction)
        .await?;
    // Where there is no such version, nothing is committed.
    let promoted = one(&mut transaction, name, version).await?;
    transaction.commit().await?;
    tracing::info!(name, version, stage = stage.text(), "model promoted");
    Ok(promoted)
}

async fn one(connection: &mut Connection, name: &str, version: u64) -> Result<Version, StoreError> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM models WHERE name = $1 AND version = $2")
        .bind(name)
        .bind(version.cast_signed())
        .fetch_optional(connection)
        .await?;
    let row = row.ok_or_else(|| StoreError::NotFound {
        reason: "NO_SUCH_MODEL",
        message: format!("there is no version {version} of model '{name}'; ListModels tells them"),
    })?;
    row.try_into()
}

/// BLAKE3 over what a model was trained and judged on: a line for each image, in the order of the lines.
async fn snapshot(
    connection: &mut Connection,
    dataset_id: &str,
    run_id: &str,
) -> Result<String, StoreError> {
    let lines: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT blake3, label, split FROM images WHERE dataset_id = $1
         UNION ALL SELECT blake3, target, 'synthetic' FROM candidates WHERE run_id = $2 AND settlement = 'admitted'
         ORDER BY 1, 2, 3",
    )
    .bind(dataset_id)
    .bind(run_id)
    .fetch_all(connection)
    .await?;
    let mut hasher = blake3::Hasher::new();
    for (blake3, label, split) in lines {
        hasher.update(format!("{blake3} {label} {split}\n").as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}
