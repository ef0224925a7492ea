//! The sealed golden set: its only way out, and the record of everyone who took it.

use sqlx::FromRow;

use crate::{
    dataset::{self, Dataset},
    error::StoreError,
    store::Store,
};

/// One read of the golden set.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct GoldenRead {
    /// Milliseconds since 1970.
    pub time: i64,
    pub reader: String,
    pub purpose: String,
    pub run_id: String,
}

/// Leave to read the golden set of one data set; there is none without a record of the read.
#[derive(Debug)]
pub struct Unsealed {
    pub(crate) dataset: Dataset,
}

/// Records a read durably and only then unseals the golden set.
///
/// # Errors
/// Reader and purpose must be given; the data set must be divided.
pub async fn unseal(
    store: &Store,
    dataset_id: &str,
    reader: &str,
    purpose: &str,
    run_id: &str,
) -> Result<Unsealed, StoreError> {
    for (field, value) in [("reader", reader), ("purpose", purpose)] {
        if value.trim().is_empty() {
            return Err(StoreError::invalid(
                field,
                "is empty; every read of the golden set is recorded",
            ));
        }
    }
    let (dataset, _) = dataset::get_divided(store, dataset_id).await?;
    let mut transaction = store.database.write().await?;
    sqlx::query(
        "INSERT INTO golden_reads (id, dataset_id, time, reader, purpose, run_id) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(uuid::Uuid::now_v7().to_string())
    .bind(dataset_id)
    .bind(store.clock.now())
    .bind(reader)
    .bind(purpose)
    .bind(run_id)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    tracing::info!(dataset_id, reader, purpose, run_id, "golden set unsealed");
    Ok(Unsealed { dataset })
}

/// Every read there was, oldest first.
pub async fn reads(store: &Store, dataset_id: &str) -> Result<Vec<GoldenRead>, StoreError> {
    dataset::get(store, dataset_id).await?;
    Ok(sqlx::query_as(
        "SELECT time, reader, purpose, run_id FROM golden_reads WHERE dataset_id = $1 ORDER BY time, id",
    )
    .bind(dataset_id)
    .fetch_all(&mut *store.database.read().await?)
    .await?)
}
