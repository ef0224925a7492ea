//! Reading candidates back, in the order they were settled.

use sqlx::FromRow;

use crate::{
    candidate::{Provenance, Settlement, Verdict},
    error::StoreError,
    images::PAGE,
    split::Side,
    store::Store,
};

/// A candidate without its image's bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub id: String,
    pub run_id: String,
    pub slot_id: String,
    pub attempt: u32,
    /// Order of settlement.
    pub position: i64,
    pub source_image_id: String,
    pub source_label: i64,
    pub source_blake3: String,
    /// Relative to the data set.
    pub source_path: String,
    pub subject: String,
    pub target: i64,
    pub settlement: Settlement,
    pub rejected_by: String,
    pub error: String,
    /// `None` where there was no image.
    pub blake3: Option<String>,
    pub phash: Option<i64>,
    pub width: Option<i64>,
    pub height: Option<i64>,
    pub fault: Option<i32>,
    pub created_at: i64,
    /// The prompt's text before style and axes.
    pub prompt_text: String,
    pub verdicts: Vec<Verdict>,
    pub provenance: Provenance,
}

#[derive(FromRow)]
struct CandidateRow {
    id: String,
    run_id: String,
    slot_id: String,
    attempt: i64,
    position: i64,
    source_image_id: String,
    source_label: i64,
    source_blake3: String,
    source_path: String,
    subject: String,
    target: i64,
    settlement: String,
    rejected_by: String,
    error: String,
    blake3: Option<String>,
    phash: Option<i64>,
    width: Option<i64>,
    height: Option<i64>,
    fault: Option<i64>,
    created_at: i64,
    prompt_text: String,
    verdicts: String,
    provenance: String,
}

impl TryFrom<CandidateRow> for Candidate {
    type Error = StoreError;

    fn try_from(row: CandidateRow) -> Result<Self, StoreError> {
        let corrupt = |what: &str| StoreError::Corrupt(format!("{what} of candidate {}", row.id));
        Ok(Self {
            settlement: Settlement::parse(&row.settlement).ok_or_else(|| corrupt("settlement"))?,
            verdicts: serde_json::from_str(&row.verdicts).map_err(|_| corrupt("verdicts"))?,
            provenance: serde_json::from_str(&row.provenance).map_err(|_| corrupt("provenance"))?,
            attempt: u32::try_from(row.attempt).map_err(|_| corrupt("attempt"))?,
            fault: row
                .fault
                .map(i32::try_from)
                .transpose()
                .map_err(|_| corrupt("fault"))?,
            id: row.id,
            run_id: row.run_id,
            slot_id: row.slot_id,
            position: row.position,
            source_image_id: row.source_image_id,
            source_label: row.source_label,
            source_blake3: row.source_blake3,
            source_path: row.source_path,
            subject: row.subject,
            target: row.target,
            rejected_by: row.rejected_by,
            error: row.error,
            blake3: row.blake3,
            phash: row.phash,
            width: row.width,
            height: row.height,
            created_at: row.created_at,
            prompt_text: row.prompt_text,
        })
    }
}

/// The columns of [`CandidateRow`], with its source.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT c.id, c.run_id, c.slot_id, c.attempt, c.position, c.source_image_id, i.label AS source_label,
                 i.blake3 AS source_blake3, i.path AS source_path, i.subject, c.target, c.settlement, c.rejected_by,
                 c.error, c.blake3, c.phash, c.width, c.height, c.fault, c.created_at, c.prompt_text,
                 c.verdicts, c.provenance
             FROM candidates c JOIN images i ON i.id = c.source_image_id WHERE ",
            $condition
        )
    };
}

/// Which candidates of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    Admitted,
}

/// The next candidates of a run after position `after` (-1: from the start), at most 256.
pub async fn page(
    store: &Store,
    run_id: &str,
    which: Which,
    after: i64,
) -> Result<Vec<Candidate>, StoreError> {
    let statement = match which {
        Which::All => select!("c.run_id = $1 AND c.position > $2 ORDER BY c.position LIMIT $3"),
        Which::Admitted => {
            select!(
                "c.run_id = $1 AND c.settlement = 'admitted' AND c.position > $2 ORDER BY c.position LIMIT $3"
            )
        }
    };
    let rows: Vec<CandidateRow> = sqlx::query_as(statement)
        .bind(run_id)
        .bind(after)
        .bind(PAGE)
        .fetch_all(&mut *store.database.read().await?)
        .await?;
    rows.into_iter().map(Candidate::try_from).collect()
}

/// One candidate by its id, whatever became of it, where its source is a train image.
pub async fn by_id(store: &Store, id: &str) -> Result<Option<Candidate>, StoreError> {
    let row: Option<CandidateRow> = sqlx::query_as(select!("c.id = $1 AND i.split = $2"))
        .bind(id)
        .bind(Side::Train.as_str())
        .fetch_optional(&mut *store.database.read().await?)
        .await?;
    row.map(Candidate::try_from).transpose()
}
