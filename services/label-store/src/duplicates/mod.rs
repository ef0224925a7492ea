//! Near-duplicates: whether an image that the guard accepted looks like one that is there.
//!
//! It is compared, whatever its class, with every accepted image of its run and every real image of the data set, golden ones too:
//! what looks like a golden image must not be trained on. What it must resemble is excepted: its own source, and what else was made
//! of that source for another class. These differ in what the edit is for, an expression say, of which the low frequencies of a
//! perceptual hash tell next to nothing: of the studio's edits 85 in 100 lie within four bits of their source, 80 in 100 pairs of one
//! source within four bits of each other, and one in 100 within four of any other real image. How near an edit may come to its source
//! is for the bounds of the SSIM gate.
//!
//! The indices live in memory and hold what the database holds, at every moment that matters: they are asked within the transaction
//! that admits, which has the write lock, and first catch up with the rows that were committed since. So nothing is ever to be put in
//! after a commit or taken out after a rollback, and a start needs no more than empty ones.

mod index;

use std::collections::{HashMap, hash_map::Entry};

use tokio::sync::Mutex;

pub use index::{HashIndex, MAX_DISTANCE, is_informative};

use crate::{candidate::Settlement, database::Connection, error::StoreError, runs::Run};

/// Data sets and runs whose indices are kept; beyond, they are made anew when they are asked again.
const KEPT: usize = 16;

/// The indices of a store.
#[derive(Debug, Default)]
pub(crate) struct Duplicates(Mutex<Indices>);

#[derive(Debug, Default)]
struct Indices {
    /// By data set. Complete from the start: a data set takes no images once it is divided, and there are no slots before.
    real: HashMap<String, HashIndex<()>>,
    /// By run.
    accepted: HashMap<String, Accepted>,
}

/// Admitted candidates of a run.
#[derive(Debug, Default)]
struct Accepted {
    /// Of positions in `edits`.
    index: HashIndex<usize>,
    edits: Vec<Edit>,
    /// Candidates settled before this one are in the index if they were admitted.
    next_position: i64,
}

/// What an image was made of, and for.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    /// Id of the real image.
    pub(crate) source: String,
    /// The class.
    pub(crate) target: i64,
}

impl Edit {
    fn is_sibling_of(&self, other: &Self) -> bool {
        self.source == other.source && self.target != other.target
    }
}

impl Duplicates {
    /// Whether a candidate with this hash is a near-duplicate of an accepted or a real image within `distance` bits. `transaction`
    /// holds the write lock.
    pub(crate) async fn has_near(
        &self,
        transaction: &mut Connection,
        run: &Run,
        (edit, hash): (&Edit, u64),
        distance: u32,
    ) -> Result<bool, StoreError> {
        let mut indices = self.0.lock().await;
        let Indices { real, accepted } = &mut *indices;
        let accepted = room(accepted, &run.id).or_default();
        accepted.catch_up(transaction, &run.id).await?;
        let mut near = accepted.index.near(hash, distance);
        if near.any(|other| !accepted.edits[other].is_sibling_of(edit)) {
            return Ok(true);
        }
        let real = match room(real, &run.dataset_id) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(none) => none.insert(real_images(transaction, &run.dataset_id).await?),
        };
        let source: i64 = sqlx::query_scalar("SELECT phash FROM images WHERE id = $1")
            .bind(&edit.source)
            .fetch_one(transaction)
            .await?;
        // The source is in the index too, unless it is flat.
        let source = source.cast_unsigned();
        let own = is_informative(source) && (source ^ hash).count_ones() <= distance;
        Ok(real.near(hash, distance).count() > usize::from(own))
    }
}

/// The place of an id, with room for it.
fn room<'a, T>(indices: &'a mut HashMap<String, T>, id: &str) -> Entry<'a, String, T> {
    if indices.len() >= KEPT && !indices.contains_key(id) {
        indices.clear();
    }
    indices.entry(id.to_owned())
}

impl Accepted {
    /// Adds what was settled since.
    async fn catch_up(
        &mut self,
        transaction: &mut Connection,
        run_id: &str,
    ) -> Result<(), StoreError> {
        let settled: Vec<(i64, String, Option<i64>, String, i64)> = sqlx::query_as(
            "SELECT position, settlement, phash, source_image_id, target FROM candidates
             WHERE run_id = $1 AND position >= $2",
        )
        .bind(run_id)
        .bind(self.next_position)
        .fetch_all(transaction)
        .await?;
        // Without a pause from here on: a caller that leaves must not leave half of it.
        for (position, settlement, hash, source, target) in settled {
            self.next_position = self.next_position.max(position + 1);
            if let (Some(Settlement::Admitted), Some(hash)) = (Settlement::parse(&settlement), hash)
            {
                self.index.insert(hash.cast_unsigned(), self.edits.len());
                self.edits.push(Edit { source, target });
            }
        }
        Ok(())
    }
}

async fn real_images(
    transaction: &mut Connection,
    dataset_id: &str,
) -> Result<HashIndex<()>, StoreError> {
    let hashes: Vec<i64> = sqlx::query_scalar("SELECT phash FROM images WHERE dataset_id = $1")
        .bind(dataset_id)
        .fetch_all(transaction)
        .await?;
    let mut index = HashIndex::default();
    for hash in hashes {
        index.insert(hash.cast_unsigned(), ());
    }
    index.shrink_to_fit();
    Ok(index)
}
