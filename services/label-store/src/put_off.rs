//! Slots whose attempts cannot be made now: nobody else leases them meanwhile.

use crate::{
    error::StoreError,
    runs,
    slots::{self, MAX_TTL_MS},
    store::Store,
};

/// An attempt that is put off; see `saga.labelstore.v1.PutOffSlotRequest`.
#[derive(Clone, Debug)]
pub struct PutOff {
    pub run_id: String,
    pub slot_id: String,
    pub attempt: u32,
    pub holder: String,
    /// Milliseconds until the slot can be leased again.
    pub wait_ms: i64,
    /// Forgets what was noted when the attempt was first leased.
    pub unasked: bool,
}

/// Puts an attempt off. A slot that its holder has lost, or whose attempt has ended, stays as it is.
///
/// # Errors
/// An unknown run or slot, a wait beyond an hour.
pub async fn put_off(store: &Store, put_off: &PutOff) -> Result<(), StoreError> {
    if !(0..=MAX_TTL_MS).contains(&put_off.wait_ms) {
        let why = format!("{} ms is not within 0 to 1 hour", put_off.wait_ms);
        return Err(StoreError::invalid("wait", why));
    }
    runs::get(store, &put_off.run_id).await?;
    let mut transaction = store.database.write().await?;
    slots::find(&mut transaction, &put_off.run_id, &put_off.slot_id).await?;
    sqlx::query(
        "UPDATE slots SET lease_expires = $1, settled = CASE WHEN $2 THEN NULL ELSE settled END
         WHERE id = $3 AND run_id = $4 AND attempt = $5 AND holder = $6 AND state = 'open'",
    )
    .bind(store.clock.now().saturating_add(put_off.wait_ms))
    .bind(put_off.unasked)
    .bind(&put_off.slot_id)
    .bind(&put_off.run_id)
    .bind(i64::from(put_off.attempt))
    .bind(&put_off.holder)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}
