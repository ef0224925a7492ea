//! Data sets: registration, the one division, and counts.

use std::path::{Path, PathBuf};

use crate::{
    error::StoreError,
    split::{self, Policy, Sample, Side},
    store::{Store, blocking},
};

const MAX_ID: usize = 64;
const MAX_CLASSES: usize = 1_000;

/// A registered data set.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub id: String,
    pub path: PathBuf,
    /// In label order.
    pub classes: Vec<String>,
    /// `None` before the split.
    pub policy: Option<Policy>,
}

impl Dataset {
    /// The name of a class of this data set.
    pub(crate) fn label(&self, index: i64) -> Result<&str, StoreError> {
        let name = usize::try_from(index)
            .ok()
            .and_then(|i| self.classes.get(i));
        name.map(String::as_str)
            .ok_or_else(|| StoreError::Corrupt(format!("label {index} in data set {}", self.id)))
    }

    /// The index of a class of this data set.
    pub(crate) fn index(&self, field: &str, label: &str) -> Result<i64, StoreError> {
        let index = self.classes.iter().position(|c| c == label);
        index.and_then(|i| i64::try_from(i).ok()).ok_or_else(|| {
            StoreError::invalid(
                field,
                format!(
                    "'{label}' is not a class; the classes are {}",
                    self.classes.join(", ")
                ),
            )
        })
    }
}

/// Images of one class by side; `total` counts those not yet divided too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    pub label: String,
    pub total: u32,
    pub train: u32,
    pub val: u32,
    pub calibration: u32,
    pub golden: u32,
}

/// Letters, digits, '-', '_' and '.', at most 64; not "." or "..", so that an id is also a file name.
pub(crate) fn check_id(field: &str, id: &str) -> Result<(), StoreError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if id.is_empty() || id.len() > MAX_ID || id.starts_with('.') || !id.chars().all(plain) {
        let why = format!(
            "'{id}' must be 1 to {MAX_ID} letters, digits, '-', '_' and '.', not starting with '.'"
        );
        return Err(StoreError::invalid(field, why));
    }
    Ok(())
}

/// Classes are few, distinct, and usable in file names.
pub(crate) fn check_classes(classes: &[String]) -> Result<(), StoreError> {
    if classes.is_empty() || classes.len() > MAX_CLASSES {
        return Err(StoreError::invalid(
            "classes",
            format!("{} given; 1 to {MAX_CLASSES} are taken", classes.len()),
        ));
    }
    for (i, class) in classes.iter().enumerate() {
        let unusable = |c: char| c.is_control() || matches!(c, '/' | '\\');
        if class.trim().is_empty()
            || class.trim() != class
            || class.len() > MAX_ID
            || class.contains(unusable)
        {
            let why = format!(
                "'{class}' must be 1 to {MAX_ID} bytes without slashes, control or outer white space"
            );
            return Err(StoreError::invalid(format!("classes[{i}]"), why));
        }
        if classes[..i].contains(class) {
            return Err(StoreError::invalid(
                format!("classes[{i}]"),
                format!("'{class}' is there twice"),
            ));
        }
    }
    Ok(())
}

type DatasetRow = (String, String, String, Option<String>);

fn dataset_of((id, path, classes, policy): DatasetRow) -> Result<Dataset, StoreError> {
    let corrupt = |e: serde_json::Error| StoreError::Corrupt(format!("data set {id}: {e}"));
    let classes = serde_json::from_str(&classes).map_err(corrupt)?;
    let policy = policy
        .map(|p| serde_json::from_str(&p))
        .transpose()
        .map_err(corrupt)?;
    Ok(Dataset {
        id,
        path: path.into(),
        classes,
        policy,
    })
}

/// The data set of this id.
pub async fn get(store: &Store, id: &str) -> Result<Dataset, StoreError> {
    let row: Option<DatasetRow> =
        sqlx::query_as("SELECT id, path, classes, policy FROM datasets WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut *store.database.read().await?)
            .await?;
    row.map(dataset_of)
        .transpose()?
        .ok_or_else(|| StoreError::NotFound {
            reason: "NO_SUCH_DATASET",
            message: format!("there is no data set '{id}'; import it first"),
        })
}

/// As [`get`], once it is divided.
pub(crate) async fn get_divided(store: &Store, id: &str) -> Result<(Dataset, Policy), StoreError> {
    let dataset = get(store, id).await?;
    match dataset.policy {
        Some(policy) => Ok((dataset, policy)),
        None => Err(not_split(id)),
    }
}

pub(crate) fn not_split(id: &str) -> StoreError {
    let message =
        format!("data set '{id}' is not split yet, so nobody may read it; call SplitDataset first");
    StoreError::Precondition {
        reason: "NOT_SPLIT",
        message,
    }
}

/// Registers a data set, or finds the same one.
pub(crate) async fn register(
    store: &Store,
    id: &str,
    path: &Path,
    layout: &str,
    classes: &[String],
) -> Result<Dataset, StoreError> {
    let path = path
        .to_str()
        .ok_or_else(|| StoreError::invalid("path", "is not UTF-8"))?;
    let mut transaction = store.database.write().await?;
    sqlx::query(
        "INSERT INTO datasets (id, path, layout, classes, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(id)
    .bind(path)
    .bind(layout)
    .bind(serde_json::json!(classes).to_string())
    .bind(store.clock.now())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let there = get(store, id).await?;
    if there.path != Path::new(path) || there.classes != classes {
        let message = format!(
            "data set '{id}' was imported from {} with classes {}; use another dataset_id",
            there.path.display(),
            there.classes.join(", ")
        );
        return Err(StoreError::Precondition {
            reason: "OTHER_DATASET",
            message,
        });
    }
    Ok(there)
}

/// Divides a data set, once.
///
/// # Errors
/// [`StoreError::Precondition`] where it is divided by another policy or has no images.
pub async fn divide(
    store: &Store,
    id: &str,
    policy: Policy,
) -> Result<Vec<ClassCounts>, StoreError> {
    policy.check()?;
    let mut transaction = store.database.write().await?;
    let dataset = get(store, id).await?;
    if let Some(there) = dataset.policy {
        if there != policy {
            let message = format!(
                "data set '{id}' is already split by another policy ({there:?}); a split is for good"
            );
            return Err(StoreError::Precondition {
                reason: "ALREADY_SPLIT",
                message,
            });
        }
        return counts(store, &dataset).await;
    }
    let rows: Vec<(String, i64, String, String, i64)> = sqlx::query_as(
        "SELECT id, label, subject, blake3, phash FROM images WHERE dataset_id = $1 ORDER BY path",
    )
    .bind(id)
    .fetch_all(&mut *transaction)
    .await?;
    if rows.is_empty() {
        let message = format!("data set '{id}' has no images; see the bad rows of its import");
        return Err(StoreError::Precondition {
            reason: "EMPTY_DATASET",
            message,
        });
    }
    for (image, side) in sides(rows, policy).await? {
        sqlx::query("UPDATE images SET split = $1 WHERE id = $2")
            .bind(side.as_str())
            .bind(image)
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("UPDATE datasets SET policy = $1 WHERE id = $2")
        .bind(serde_json::json!(policy).to_string())
        .bind(id)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    counts(store, &dataset).await
}

async fn sides(
    rows: Vec<(String, i64, String, String, i64)>,
    policy: Policy,
) -> Result<Vec<(String, Side)>, StoreError> {
    blocking(move || {
        let (ids, samples): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .map(|(id, label, subject, blake3, phash)| {
                (
                    id,
                    Sample {
                        label: label as usize,
                        subject,
                        blake3,
                        phash: phash.cast_unsigned(),
                    },
                )
            })
            .unzip();
        let sides = split::split(&samples, &policy);
        Ok(ids.into_iter().zip(sides).collect())
    })
    .await
}

/// Images by class and side, in label order.
pub async fn counts(store: &Store, dataset: &Dataset) -> Result<Vec<ClassCounts>, StoreError> {
    let rows: Vec<(i64, String, i64)> = sqlx::query_as(
        "SELECT label, split, COUNT(*) FROM images WHERE dataset_id = $1 GROUP BY label, split",
    )
    .bind(&dataset.id)
    .fetch_all(&mut *store.database.read().await?)
    .await?;
    let blank = |label: &String| ClassCounts {
        label: label.clone(),
        ..ClassCounts::default()
    };
    let mut counts: Vec<ClassCounts> = dataset.classes.iter().map(blank).collect();
    for (label, side, n) in rows {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        let Some(class) = usize::try_from(label).ok().and_then(|i| counts.get_mut(i)) else {
            continue;
        };
        class.total += n;
        match side.as_str() {
            "train" => class.train = n,
            "val" => class.val = n,
            "calibration" => class.calibration = n,
            "golden" => class.golden = n,
            _ => {}
        }
    }
    Ok(counts)
}

/// How many different people are known by name.
pub async fn subjects(store: &Store, id: &str) -> Result<u64, StoreError> {
    let n: i64 = sqlx::query_scalar(
        "SELECT COUNT(DISTINCT subject) FROM images WHERE dataset_id = $1 AND subject <> ''",
    )
    .bind(id)
    .fetch_one(&mut *store.database.read().await?)
    .await?;
    Ok(n.cast_unsigned())
}
