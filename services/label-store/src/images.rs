//! The real images of data sets: entering them, and reading them on all sides but golden.

use std::collections::HashMap;

use sqlx::FromRow;

use crate::{dataset::not_split, error::StoreError, import::NewImage, split::Side, store::Store};

/// Rows fetched at a time by streams.
pub(crate) const PAGE: i64 = 256;
/// A real image without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ImageRow {
    pub id: String,
    pub dataset_id: String,
    pub path: String,
    pub label: i64,
    pub subject: String,
    pub blake3: String,
    pub split: String,
}

/// Label and hash of the images that are there, by path.
pub(crate) async fn known_images(
    store: &Store,
    id: &str,
) -> Result<HashMap<String, (usize, String)>, StoreError> {
    let rows: Vec<(String, i64, String)> =
        sqlx::query_as("SELECT path, label, blake3 FROM images WHERE dataset_id = $1")
            .bind(id)
            .fetch_all(&mut *store.database.read().await?)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(path, label, blake3)| (path, (label as usize, blake3)))
        .collect())
}

/// Adds images in one transaction. Their ids follow from data set and path.
pub(crate) async fn insert_images(
    store: &Store,
    dataset: &str,
    images: &[NewImage],
) -> Result<(), StoreError> {
    let mut transaction = store.database.write().await?;
    for image in images {
        sqlx::query(
            "INSERT INTO images (id, dataset_id, path, label, subject, blake3, phash, width, height)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (dataset_id, path) DO NOTHING",
        )
        .bind(image_id(dataset, &image.path))
        .bind(dataset)
        .bind(&image.path)
        .bind(image.label as i64)
        .bind(&image.subject)
        .bind(&image.blake3)
        .bind(image.picture.phash.cast_signed())
        .bind(i64::from(image.picture.width))
        .bind(i64::from(image.picture.height))
        .execute(&mut *transaction)
        .await?;
    }
    Ok(transaction.commit().await?)
}

/// First 32 digits of the BLAKE3 of data set and path: the same image has the same id wherever it is imported.
fn image_id(dataset: &str, path: &str) -> String {
    let hash = blake3::hash(format!("{dataset}\n{path}").as_bytes());
    hash.to_hex()[..32].to_owned()
}

const COLUMNS_BY_SIDE: &str =
    "SELECT id, dataset_id, path, label, subject, blake3, split FROM images
     WHERE dataset_id = $1 AND split = $2 AND path > $3 ORDER BY path LIMIT $4";

/// The next images of one side in the order of their paths, after `after`. Says nothing of who may read them: golden
/// rows go through [`crate::golden`].
pub(crate) async fn page(
    store: &Store,
    id: &str,
    side: Side,
    after: &str,
) -> Result<Vec<ImageRow>, StoreError> {
    Ok(sqlx::query_as(COLUMNS_BY_SIDE)
        .bind(id)
        .bind(side.as_str())
        .bind(after)
        .bind(PAGE)
        .fetch_all(&mut *store.database.read().await?)
        .await?)
}

/// All images of one side in the order of their paths.
///
/// # Errors
/// [`StoreError::GoldenSealed`] for golden.
pub async fn rows(store: &Store, id: &str, side: Side) -> Result<Vec<ImageRow>, StoreError> {
    if side == Side::Golden {
        return Err(StoreError::GoldenSealed);
    }
    all_rows(store, id, side).await
}

/// As [`rows`], golden too: for lists of names.
pub(crate) async fn all_rows(
    store: &Store,
    id: &str,
    side: Side,
) -> Result<Vec<ImageRow>, StoreError> {
    let mut rows: Vec<ImageRow> = Vec::new();
    loop {
        let after = rows.last().map_or("", |row| row.path.as_str());
        let page = page(store, id, side, after).await?;
        if page.is_empty() {
            return Ok(rows);
        }
        rows.extend(page);
    }
}

/// One image by id.
///
/// # Errors
/// [`StoreError::GoldenSealed`] for a golden one; [`StoreError::Precondition`] before the split.
pub async fn image(store: &Store, id: &str) -> Result<Option<ImageRow>, StoreError> {
    let row: Option<ImageRow> = sqlx::query_as(
        "SELECT id, dataset_id, path, label, subject, blake3, split FROM images WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(&mut *store.database.read().await?)
    .await?;
    match row {
        Some(row) if row.split == Side::Golden.as_str() => Err(StoreError::GoldenSealed),
        Some(row) if row.split.is_empty() => Err(not_split(&row.dataset_id)),
        other => Ok(other),
    }
}
