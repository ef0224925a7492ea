//! Tries that go on at the server after their request has been sent: batches, above all. Their names are kept, so that whoever
//! asks again asks the server for the outcome instead of paying for another try.

use sqlx::FromRow;

use crate::{database::Connection, error::StoreError, store::Store};

/// Longest name of an operation, in bytes.
const MAX_OPERATION: usize = 512;

/// A try that goes on at the server.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Operation {
    #[sqlx(rename = "id")]
    pub permit: String,
    /// Name of the key.
    #[sqlx(rename = "key_name")]
    pub key: String,
    /// The server's.
    #[sqlx(rename = "operation")]
    pub name: String,
}

/// The try of a request that goes on at the server.
pub(super) async fn under_way(
    connection: &mut Connection,
    request_id: &str,
) -> Result<Option<Operation>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT id, key_name, operation FROM permits
         WHERE request_id = $1 AND operation IS NOT NULL AND NOT ended",
    )
    .bind(request_id)
    .fetch_optional(connection)
    .await?)
}

/// Keeps the server's name of a try that has not ended; what the request cost so far.
pub(super) async fn record(store: &Store, permit_id: &str, name: &str) -> Result<f64, StoreError> {
    if !(1..=MAX_OPERATION).contains(&name.len()) {
        let why = format!("has {} bytes; 1 to {MAX_OPERATION} are taken", name.len());
        return Err(StoreError::invalid("operation", why));
    }
    let mut transaction = store.database.write().await?;
    let request: Option<String> = sqlx::query_scalar(
        "UPDATE permits SET operation = CASE WHEN ended THEN operation ELSE $2 END
         WHERE id = $1 RETURNING request_id",
    )
    .bind(permit_id)
    .bind(name)
    .fetch_optional(&mut *transaction)
    .await?;
    let request = request.ok_or_else(|| super::no_such_permit(permit_id))?;
    let cost = super::cost(&mut transaction, &request).await?;
    transaction.commit().await?;
    Ok(cost)
}
