//! When a key is free: a sliding log. A limit of `n` requests in a stretch of time is kept where each request comes no
//! earlier than that stretch after the `n`-th before it, whatever clock the other side's stretches begin by.

use std::collections::HashSet;

use crate::{database::Connection, dataset::check_id, error::StoreError};

const MAX_KEYS: usize = 256;
const MAX_LIMITS: usize = 8;
const MAX_REQUESTS: u32 = 1_000_000;
/// 31 days in milliseconds.
const MAX_PERIOD_MS: i64 = 31 * 24 * 3_600_000;

/// A key and what it allows; see `saga.labelstore.v1.Key`.
#[derive(Clone, Debug)]
pub struct Key {
    pub name: String,
    pub limits: Vec<Limit>,
}

/// At most `requests` in any `period_ms`.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub requests: u32,
    pub period_ms: i64,
}

pub(super) fn check(keys: &[Key]) -> Result<(), StoreError> {
    if !(1..=MAX_KEYS).contains(&keys.len()) {
        let why = format!("{} given; 1 to {MAX_KEYS} are taken", keys.len());
        return Err(StoreError::invalid("keys", why));
    }
    let mut names = HashSet::new();
    for (i, key) in keys.iter().enumerate() {
        check_id(&format!("keys[{i}].name"), &key.name)?;
        if !names.insert(&key.name) {
            let why = format!(
                "'{}' is there twice; give each key a name of its own",
                key.name
            );
            return Err(StoreError::invalid(format!("keys[{i}].name"), why));
        }
        let field = format!("keys[{i}].limits");
        if key.limits.len() > MAX_LIMITS {
            let why = format!("{} given; at most {MAX_LIMITS} are taken", key.limits.len());
            return Err(StoreError::invalid(field, why));
        }
        for limit in &key.limits {
            if !(1..=MAX_REQUESTS).contains(&limit.requests) {
                let why = format!("{} requests; 1 to {MAX_REQUESTS} are taken", limit.requests);
                return Err(StoreError::invalid(field, why));
            }
            if !(1..=MAX_PERIOD_MS).contains(&limit.period_ms) {
                let why = format!(
                    "a period of {} ms; 1 ms to 31 days are taken",
                    limit.period_ms
                );
                return Err(StoreError::invalid(field, why));
            }
        }
    }
    Ok(())
}

/// The key that is free soonest and when, in milliseconds since 1970; of several, the one that was used least recently.
pub(super) async fn soonest<'a>(
    connection: &mut Connection,
    backend: &str,
    keys: &'a [Key],
    now: i64,
) -> Result<(&'a Key, i64), StoreError> {
    let mut best: Option<(i64, i64, &Key)> = None;
    for key in keys {
        let mut free = now;
        for limit in &key.limits {
            let nth = nth_latest(connection, backend, &key.name, limit.requests).await?;
            free = free.max(nth.map_or(now, |at| at + limit.period_ms));
        }
        let last = nth_latest(connection, backend, &key.name, 1)
            .await?
            .unwrap_or(i64::MIN);
        if best.is_none_or(|(other, used, _)| (free, last) < (other, used)) {
            best = Some((free, last, key));
        }
    }
    best.map(|(free, _, key)| (key, free))
        .ok_or_else(|| StoreError::invalid("keys", "is empty"))
}

/// When the `n`-th latest request of a key was or will be sent.
async fn nth_latest(
    connection: &mut Connection,
    backend: &str,
    key: &str,
    n: u32,
) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT sent_at FROM permits WHERE backend = $1 AND key_name = $2
         ORDER BY sent_at DESC LIMIT 1 OFFSET $3",
    )
    .bind(backend)
    .bind(key)
    .bind(i64::from(n) - 1)
    .fetch_optional(connection)
    .await?)
}
