//! Admission: the end of one attempt at a slot, in one transaction.
//!
//! | the guard | the store finds | settlement | the slot |
//! |---|---|---|---|
//! | rejected | tries left | refunded | open, next attempt |
//! | rejected | no tries left | exhausted | exhausted |
//! | accepted | same bytes in data set or run, or a near-duplicate ([`crate::duplicates`]) | duplicate | next attempt, or exhausted |
//! | accepted | class at its cap | cap_reached | exhausted |
//! | accepted | none of these | admitted | accepted |
//!
//! The candidate's blob is durable before the transaction begins. The transaction holds the write lock from its first
//! statement, so of two near-duplicates that settle at once the second sees the first. A candidate id that is there
//! already gets its recorded answer and changes nothing.

mod decision;

use prost::bytes::Bytes;

use crate::{
    candidate::{Provenance, Settlement, Verdict},
    database::Connection,
    duplicates::{Edit, Embedding},
    error::StoreError,
    import::Picture,
    runs,
    slots::{self, SlotRow},
    store::{Store, blocking},
};
use decision::{Case, decide};

const MAX_CANDIDATE_ID: usize = 128;

/// One attempt's end; see `saga.labelstore.v1.SettleCandidateRequest`.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    pub run_id: String,
    pub slot_id: String,
    pub attempt: u32,
    pub candidate_id: String,
    /// Encoded; `None` where the generator gave none.
    pub image: Option<Bytes>,
    /// What the sender says the image's BLAKE3 is; empty: unsaid.
    pub image_blake3: String,
    pub accepted: bool,
    pub rejected_by: String,
    pub error: String,
    /// One of the slot's sources with tries left; empty: the first of them.
    pub source_image_id: String,
    /// The prompt's text before style and axes.
    pub prompt_text: String,
    /// The backend that was asked.
    pub backend: String,
    pub verdicts: Vec<Verdict>,
    pub provenance: Provenance,
    /// The generator's planted fault by its number in the contract.
    pub fault: Option<i32>,
    /// The image's CLIP embedding; empty where unknown.
    pub embedding: Vec<f32>,
}

/// A stored image of a candidate.
#[derive(Clone, Debug)]
struct Stored {
    blake3: String,
    /// `None` where it does not decode.
    picture: Option<Picture>,
}

/// Settles an attempt.
///
/// # Errors
/// [`StoreError::Precondition`] where the slot is at another attempt or closed; [`StoreError::Invalid`] where an
/// accepted candidate has no image that decodes; [`StoreError::DiskFull`]. After any error nothing has changed.
pub async fn settle(store: &Store, attempt: Attempt) -> Result<Settlement, StoreError> {
    check(&attempt)?;
    let embedding = Embedding::of(&attempt.embedding)?;
    let run = runs::get(store, &attempt.run_id).await?;
    if let Found::Settled(settlement) = find(&mut *store.database.read().await?, &attempt).await? {
        return Ok(settlement);
    }
    let stored = keep_image(store, &attempt).await?;
    let mut transaction = store.database.write().await?;
    let slot = match find(&mut transaction, &attempt).await? {
        Found::Settled(settlement) => return Ok(settlement),
        Found::Open(slot) => slot,
    };
    let (sources, last) = slot.sources_left(&mut transaction).await?;
    let source = source_of(&attempt, &slot, &sources)?.to_owned();
    let case = Case {
        run: &run,
        slot: &slot,
        edit: Edit {
            source,
            target: slot.target,
            embedding,
        },
        last,
        attempt: &attempt,
        stored: stored.as_ref(),
    };
    let (settlement, rejected_by) = decide(&mut transaction, &store.duplicates, &case).await?;
    insert(
        &mut transaction,
        &case,
        (settlement, rejected_by),
        store.clock.now(),
    )
    .await?;
    advance(&mut transaction, &slot, settlement, last).await?;
    transaction.commit().await?;
    Ok(settlement)
}

/// The source that the attempt names, or else the slot's next.
fn source_of<'a>(
    attempt: &Attempt,
    slot: &SlotRow,
    sources: &'a [String],
) -> Result<&'a str, StoreError> {
    let named = |source: &&String| {
        attempt.source_image_id.is_empty() || **source == attempt.source_image_id
    };
    sources
        .iter()
        .find(named)
        .map(String::as_str)
        .ok_or_else(|| {
            let why = format!(
                "'{}' is no source of slot '{}' with tries left",
                attempt.source_image_id, slot.id
            );
            StoreError::invalid("source_image_id", why)
        })
}

fn check(attempt: &Attempt) -> Result<(), StoreError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let id = &attempt.candidate_id;
    if id.is_empty() || id.len() > MAX_CANDIDATE_ID || id.starts_with('.') || !id.chars().all(plain)
    {
        let why =
            format!("'{id}' must be 1 to {MAX_CANDIDATE_ID} letters, digits, '-', '_' and '.'");
        return Err(StoreError::invalid("candidate_id", why));
    }
    if attempt.accepted && !attempt.rejected_by.is_empty() {
        return Err(StoreError::invalid(
            "rejected_by",
            "is set although the candidate was accepted",
        ));
    }
    if !attempt.accepted && attempt.rejected_by.is_empty() {
        return Err(StoreError::invalid(
            "rejected_by",
            "is empty; name the gate, \"generator\" or \"error\"",
        ));
    }
    if attempt.accepted && attempt.image.is_none() {
        return Err(StoreError::invalid(
            "candidate.image",
            "is missing although the candidate was accepted",
        ));
    }
    if !attempt.provenance.cost_usd.is_finite() {
        return Err(StoreError::invalid(
            "candidate.provenance.cost_usd",
            "is not a finite number",
        ));
    }
    Ok(())
}

enum Found {
    /// This candidate was settled before.
    Settled(Settlement),
    Open(SlotRow),
}

/// The recorded answer of this candidate, else its slot if the attempt is the one under way.
async fn find(connection: &mut Connection, attempt: &Attempt) -> Result<Found, StoreError> {
    let recorded: Option<(String, String, i64, String)> =
        sqlx::query_as("SELECT run_id, slot_id, attempt, settlement FROM candidates WHERE id = $1")
            .bind(&attempt.candidate_id)
            .fetch_optional(&mut *connection)
            .await?;
    if let Some((run, slot, number, word)) = recorded {
        if run != attempt.run_id || slot != attempt.slot_id || number != i64::from(attempt.attempt)
        {
            let message = format!(
                "candidate '{}' was settled for attempt {number} of slot {slot}",
                attempt.candidate_id
            );
            return Err(StoreError::AlreadyExists { message });
        }
        let settlement = Settlement::parse(&word);
        return Ok(Found::Settled(settlement.ok_or_else(|| {
            StoreError::Corrupt(format!("settlement '{word}'"))
        })?));
    }
    let slot = slots::find(connection, &attempt.run_id, &attempt.slot_id).await?;
    if slot.state != "open" {
        let message = format!("slot '{}' is {}; lease another one", slot.id, slot.state);
        return Err(StoreError::Precondition {
            reason: "SLOT_CLOSED",
            message,
        });
    }
    if slot.attempt != i64::from(attempt.attempt) {
        let message = format!(
            "slot '{}' is at attempt {}, the candidate was made for attempt {}; drop it and lease the slot again",
            slot.id, slot.attempt, attempt.attempt
        );
        return Err(StoreError::Precondition {
            reason: "STALE_ATTEMPT",
            message,
        });
    }
    Ok(Found::Open(slot))
}

/// Stores an image durably ahead of the settlement of its candidate, and answers its BLAKE3.
///
/// # Errors
/// [`StoreError::Invalid`] where it is too large, or not of the BLAKE3 that is `claimed`; [`StoreError::DiskFull`].
pub async fn keep(store: &Store, image: Bytes, claimed: String) -> Result<String, StoreError> {
    let store = store.clone();
    blocking(move || {
        check_image(&store, &image, &claimed, ["image.data", "image.blake3"])?;
        store.blobs.put(&image)
    })
    .await
}

/// `data` and `blake3` are the names of the fields.
fn check_image(
    store: &Store,
    bytes: &[u8],
    claimed: &str,
    [data, blake3]: [&'static str; 2],
) -> Result<(), StoreError> {
    let max_bytes = store.decode_limits().max_bytes;
    if bytes.len() > max_bytes {
        let why = format!(
            "has {} bytes; the limit is {max_bytes} (images.max_bytes)",
            bytes.len()
        );
        return Err(StoreError::invalid(data, why));
    }
    if !claimed.is_empty() && claimed != blake3::hash(bytes).to_hex().as_str() {
        return Err(StoreError::invalid(
            blake3,
            format!("is not the hash of {data}"),
        ));
    }
    Ok(())
}

/// Writes the image's blob durably and hashes its picture.
async fn keep_image(store: &Store, attempt: &Attempt) -> Result<Option<Stored>, StoreError> {
    let Some(bytes) = attempt.image.clone() else {
        return Ok(None);
    };
    let (store, accepted, claimed) = (
        store.clone(),
        attempt.accepted,
        attempt.image_blake3.clone(),
    );
    let stored = blocking(move || {
        let fields = ["candidate.image.data", "candidate.image.blake3"];
        check_image(&store, &bytes, &claimed, fields)?;
        let picture = match Picture::of(&bytes, &store.decode_limits()) {
            Err(e) if accepted => {
                return Err(StoreError::invalid("candidate.image.data", e.to_string()));
            }
            other => other.ok(),
        };
        Ok(Stored {
            blake3: store.blobs.put(&bytes)?,
            picture,
        })
    });
    stored.await.map(Some)
}

async fn insert(
    connection: &mut Connection,
    case: &Case<'_>,
    (settlement, rejected_by): (Settlement, &str),
    now: i64,
) -> Result<(), StoreError> {
    let Case {
        slot,
        edit,
        attempt,
        stored,
        ..
    } = case;
    // Nothing is compared with those that were not admitted.
    let kept = edit.embedding.as_ref();
    let kept = kept.filter(|_| settlement == Settlement::Admitted);
    let picture = stored.and_then(|s| s.picture);
    sqlx::query(
        "INSERT INTO candidates (id, run_id, slot_id, attempt, position, source_image_id, target, settlement,
             passed_gates, rejected_by, error, blake3, phash, width, height, fault, cost_usd, provenance, verdicts,
             created_at, prompt_text, backend, embedding)
         SELECT $1, $2, $3, $4, COALESCE(MAX(position) + 1, 0), $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
             $17, $18, $19, $20, $21, $22
         FROM candidates WHERE run_id = $2",
    )
    .bind(&attempt.candidate_id)
    .bind(&slot.run_id)
    .bind(&slot.id)
    .bind(slot.attempt)
    .bind(&edit.source)
    .bind(slot.target)
    .bind(settlement.as_str())
    .bind(attempt.accepted)
    .bind(rejected_by)
    .bind(&attempt.error)
    .bind(stored.map(|s| s.blake3.as_str()))
    .bind(picture.map(|p| p.phash.cast_signed()))
    .bind(picture.map(|p| i64::from(p.width)))
    .bind(picture.map(|p| i64::from(p.height)))
    .bind(attempt.fault.map(i64::from))
    .bind(attempt.provenance.cost_usd)
    .bind(serde_json::json!(attempt.provenance).to_string())
    .bind(serde_json::json!(attempt.verdicts).to_string())
    .bind(now)
    .bind(&attempt.prompt_text)
    .bind(&attempt.backend)
    .bind(kept.map(Embedding::to_bytes))
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves the slot on and ends its lease.
async fn advance(
    connection: &mut Connection,
    slot: &SlotRow,
    settlement: Settlement,
    last: bool,
) -> Result<(), StoreError> {
    let (attempt, state) = match settlement {
        Settlement::Admitted => (slot.attempt, "accepted"),
        Settlement::CapReached => (slot.attempt, "exhausted"),
        _ if last => (slot.attempt, "exhausted"),
        _ => (slot.attempt + 1, "open"),
    };
    sqlx::query(
        "UPDATE slots SET attempt = $1, state = $2, holder = '', lease_expires = 0, settled = NULL WHERE id = $3",
    )
    .bind(attempt)
    .bind(state)
    .bind(&slot.id)
    .execute(connection)
    .await?;
    Ok(())
}
