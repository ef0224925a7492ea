//! The ledger of requests to services that cost money or allow only so many requests.
//!
//! A permit is written down before the request it is for leaves, an answer before anybody sees it. So no crash forgets that
//! a quota was used or that money was spent, and a request whose answer had arrived is never sent again:
//!
//! | the last thing that was done | what the next [`reserve`] of the request gives |
//! |---|---|
//! | nothing | a permit |
//! | a permit, no word since | another permit; the first one's cost stays reserved |
//! | a try that goes on at the server | the server's name for it |
//! | a try that failed | another permit, until the tries are used up |
//! | an answer | the answer |

mod keys;
mod operations;

use prost::bytes::Bytes;
use sqlx::FromRow;

use crate::{
    database::Connection,
    dataset::check_id,
    error::StoreError,
    store::{Store, blocking},
};

pub use keys::{Key, Limit};
pub use operations::Operation;

/// Longest time that a permit may lie ahead, in milliseconds.
pub const MAX_WAIT_MS: i64 = 3_600_000;

/// A request that somebody wants to send; see `saga.labelstore.v1.ReserveRequest`.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub request_id: String,
    pub backend: String,
    pub keys: Vec<Key>,
    pub cost_usd: f64,
    /// Empty: nobody's.
    pub budget: String,
    pub max_cost_usd: Option<f64>,
    pub max_wait_ms: i64,
    pub max_tries: u32,
}

/// What [`reserve`] gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Reserved {
    Permit(Permit),
    /// The request was answered before.
    Answer(Answer),
    /// An earlier try goes on at the server.
    Operation(Operation),
}

/// The right to send one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    pub id: String,
    /// Name of the key.
    pub key: String,
    /// Milliseconds to wait before sending.
    pub wait_ms: i64,
}

/// How a request ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// By its number in the contract.
    pub outcome: i32,
    pub image: Option<Bytes>,
    pub message: String,
    /// Of all tries.
    pub cost_usd: f64,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With the request's answer; its cost is not read.
    Answered(Answer),
    /// Without one, for this reason; another try may follow.
    Failed(String),
    /// Not yet: it goes on at the server under this name.
    Continues(String),
}

/// What was asked of one backend for one budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Spending {
    pub budget: String,
    pub backend: String,
    pub tries: u64,
    pub cost_usd: f64,
    /// Requests by outcome; `None`: without an answer so far.
    pub outcomes: Vec<(Option<i32>, u64)>,
}

/// A permit to send, the answer there is, or what to ask the server about.
///
/// # Errors
/// A field that is wrong; [`StoreError::Exhausted`] where no key is free in time; [`StoreError::Precondition`] where the
/// budget is spent or the tries are used up. After any error nothing has changed.
pub async fn reserve(store: &Store, wanted: &Wanted) -> Result<Reserved, StoreError> {
    check(wanted)?;
    let mut transaction = store.database.write().await?;
    if let Some((answer, blake3)) = answered(&mut transaction, &wanted.request_id).await? {
        // Others need not wait for the image to be read.
        transaction.rollback().await?;
        let image = match blake3 {
            Some(blake3) => {
                let blobs = store.blobs.clone();
                Some(blocking(move || blobs.read(&blake3)).await?.into())
            }
            None => None,
        };
        return Ok(Reserved::Answer(Answer { image, ..answer }));
    }
    if let Some(operation) = operations::under_way(&mut transaction, &wanted.request_id).await? {
        return Ok(Reserved::Operation(operation));
    }
    let tries = check_tries(&mut transaction, wanted).await?;
    check_budget(&mut transaction, wanted).await?;
    let now = store.clock.now();
    let (key, at) = keys::soonest(&mut transaction, &wanted.backend, &wanted.keys, now).await?;
    if at - now > wanted.max_wait_ms {
        return Err(StoreError::Exhausted {
            message: format!(
                "every key of {} is used up; '{}' is free first, in {} s",
                wanted.backend,
                key.name,
                (at - now + 999) / 1_000
            ),
            retry_ms: at - now,
        });
    }
    let permit = Permit {
        id: format!("{}.{tries}", wanted.request_id),
        key: key.name.clone(),
        wait_ms: at - now,
    };
    insert(&mut transaction, wanted, &permit, at).await?;
    transaction.commit().await?;
    Ok(Reserved::Permit(permit))
}

fn check(wanted: &Wanted) -> Result<(), StoreError> {
    check_id("request_id", &wanted.request_id)?;
    check_id("backend", &wanted.backend)?;
    if !wanted.budget.is_empty() {
        check_id("budget.id", &wanted.budget)?;
    } else if wanted.max_cost_usd.is_some() {
        return Err(StoreError::invalid(
            "budget.id",
            "is empty although budget.max_cost_usd is set",
        ));
    }
    let money = [
        ("cost_usd", Some(wanted.cost_usd)),
        ("budget.max_cost_usd", wanted.max_cost_usd),
    ];
    for (field, usd) in money {
        if usd.is_some_and(|usd| !usd.is_finite() || usd < 0.0) {
            return Err(StoreError::invalid(field, "must be a number of at least 0"));
        }
    }
    if !(0..=MAX_WAIT_MS).contains(&wanted.max_wait_ms) {
        let why = format!("{} ms is not within 0 to 1 hour", wanted.max_wait_ms);
        return Err(StoreError::invalid("max_wait", why));
    }
    if wanted.max_tries == 0 {
        return Err(StoreError::invalid("max_tries", "must be at least 1"));
    }
    keys::check(&wanted.keys)
}

/// The recorded answer of a request, with its image's hash in place of the image.
async fn answered(
    connection: &mut Connection,
    request_id: &str,
) -> Result<Option<(Answer, Option<String>)>, StoreError> {
    let row: Option<(Option<i32>, String, Option<String>)> =
        sqlx::query_as("SELECT outcome, message, blake3 FROM requests WHERE id = $1")
            .bind(request_id)
            .fetch_optional(&mut *connection)
            .await?;
    let Some((Some(outcome), message, blake3)) = row else {
        return Ok(None);
    };
    let answer = Answer {
        outcome,
        image: None,
        message,
        cost_usd: cost(connection, request_id).await?,
    };
    Ok(Some((answer, blake3)))
}

/// What all tries of a request cost.
async fn cost(connection: &mut Connection, request_id: &str) -> Result<f64, StoreError> {
    Ok(
        sqlx::query_scalar(
            "SELECT COALESCE(SUM(cost_usd), 0.0) FROM permits WHERE request_id = $1",
        )
        .bind(request_id)
        .fetch_one(connection)
        .await?,
    )
}

/// How many tries there were.
async fn check_tries(connection: &mut Connection, wanted: &Wanted) -> Result<i64, StoreError> {
    let tries: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM permits WHERE request_id = $1")
        .bind(&wanted.request_id)
        .fetch_one(&mut *connection)
        .await?;
    if tries < i64::from(wanted.max_tries) {
        return Ok(tries);
    }
    let last: String = sqlx::query_scalar("SELECT message FROM requests WHERE id = $1")
        .bind(&wanted.request_id)
        .fetch_one(connection)
        .await?;
    let last = if last.is_empty() {
        "nobody learnt how the last one ended"
    } else {
        &last
    };
    Err(StoreError::Precondition {
        reason: "TRIES_USED_UP",
        message: format!("{tries} tries failed: {last}"),
    })
}

async fn check_budget(connection: &mut Connection, wanted: &Wanted) -> Result<(), StoreError> {
    let Some(most) = wanted.max_cost_usd else {
        return Ok(());
    };
    let spent: f64 =
        sqlx::query_scalar("SELECT COALESCE(SUM(cost_usd), 0.0) FROM permits WHERE budget = $1")
            .bind(&wanted.budget)
            .fetch_one(connection)
            .await?;
    // A sum of many prices is off by a rounding, which must not stop the last request that a budget was made for.
    if spent + wanted.cost_usd <= most * (1.0 + 1e-9) {
        return Ok(());
    }
    let message = format!(
        "{spent:.4} of the {most:.4} US dollars of budget '{}' are spent or reserved and a request may cost {:.4}; raise the budget to go on",
        wanted.budget, wanted.cost_usd
    );
    Err(StoreError::Precondition {
        reason: "BUDGET_SPENT",
        message,
    })
}

async fn insert(
    connection: &mut Connection,
    wanted: &Wanted,
    permit: &Permit,
    at: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO requests (id, backend, budget) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
    )
    .bind(&wanted.request_id)
    .bind(&wanted.backend)
    .bind(&wanted.budget)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO permits (id, request_id, backend, key_name, budget, sent_at, cost_usd)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&permit.id)
    .bind(&wanted.request_id)
    .bind(&wanted.backend)
    .bind(&permit.key)
    .bind(&wanted.budget)
    .bind(at)
    .bind(wanted.cost_usd)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a permit, and with an answer its request; what the request cost so far. A permit that ended before, or whose
/// request has its answer, stays as it was. A cost of `None` is unknown: what was reserved stays.
///
/// # Errors
/// An unknown permit, a cost that is none, a full disk.
pub async fn settle(
    store: &Store,
    permit_id: &str,
    cost_usd: Option<f64>,
    ended: Ended,
) -> Result<f64, StoreError> {
    if cost_usd.is_some_and(|usd| !usd.is_finite() || usd < 0.0) {
        let why = "must be a number of at least 0";
        return Err(StoreError::invalid("cost_usd", why));
    }
    let (outcome, message, image) = match ended {
        Ended::Answered(answer) => (Some(answer.outcome), answer.message, answer.image),
        Ended::Failed(why) => (None, why, None),
        Ended::Continues(name) => return operations::record(store, permit_id, &name).await,
    };
    let blake3 = match image {
        Some(image) => {
            let blobs = store.blobs.clone();
            Some(blocking(move || blobs.put(&image)).await?)
        }
        None => None,
    };
    let mut transaction = store.database.write().await?;
    let request: Option<String> = sqlx::query_scalar(
        "UPDATE permits SET cost_usd = CASE WHEN ended THEN cost_usd ELSE COALESCE($2, cost_usd) END, ended = TRUE
         WHERE id = $1 RETURNING request_id",
    )
    .bind(permit_id)
    .bind(cost_usd)
    .fetch_optional(&mut *transaction)
    .await?;
    let request = request.ok_or_else(|| no_such_permit(permit_id))?;
    sqlx::query(
        "UPDATE requests SET outcome = $2, message = $3, blake3 = $4 WHERE id = $1 AND outcome IS NULL",
    )
    .bind(&request)
    .bind(outcome)
    .bind(message)
    .bind(blake3)
    .execute(&mut *transaction)
    .await?;
    let cost = cost(&mut transaction, &request).await?;
    transaction.commit().await?;
    Ok(cost)
}

fn no_such_permit(id: &str) -> StoreError {
    StoreError::NotFound {
        reason: "NO_SUCH_PERMIT",
        message: format!("there is no permit '{id}'"),
    }
}

/// What was asked and spent, by budget and backend; `budget` empty: of all.
pub async fn spending(store: &Store, budget: &str) -> Result<Vec<Spending>, StoreError> {
    #[derive(FromRow)]
    struct Money {
        budget: String,
        backend: String,
        tries: i64,
        cost_usd: f64,
    }
    let mut connection = store.database.read().await?;
    let mut snapshot = sqlx::Connection::begin(&mut *connection).await?;
    let money: Vec<Money> = sqlx::query_as(
        "SELECT budget, backend, COUNT(*) AS tries, SUM(cost_usd) AS cost_usd FROM permits
         WHERE $1 = '' OR budget = $1 GROUP BY budget, backend ORDER BY budget, backend",
    )
    .bind(budget)
    .fetch_all(&mut *snapshot)
    .await?;
    let mut spending = Vec::with_capacity(money.len());
    for row in money {
        let outcomes: Vec<(Option<i32>, i64)> = sqlx::query_as(
            "SELECT outcome, COUNT(*) FROM requests WHERE budget = $1 AND backend = $2 GROUP BY outcome",
        )
        .bind(&row.budget)
        .bind(&row.backend)
        .fetch_all(&mut *snapshot)
        .await?;
        spending.push(Spending {
            budget: row.budget,
            backend: row.backend,
            tries: row.tries.cast_unsigned(),
            cost_usd: row.cost_usd,
            outcomes: outcomes
                .into_iter()
                .map(|(outcome, n)| (outcome, n.cast_unsigned()))
                .collect(),
        });
    }
    Ok(spending)
}
