//! Near-duplicates: whether an image that the guard accepted looks like one that is there.
//!
//! It is compared, whatever its class, with every accepted image of its run and every real image of the data set, golden ones too:
//! what looks like a golden image must not be trained on. What it must resemble is excepted: its own source, and what else was made
//! of that source for another class. These differ in what the edit is for, an expression say, of which the low frequencies of a
//! perceptual hash tell next to nothing: of the studio's edits 85 in 100 lie within four bits of their source, 80 in 100 pairs of one
//! source within four bits of each other, and one in 100 within four of any other real image. How near an edit may come to its source
//! is for the bounds of the SSIM gate.
//!
//! Perceptual hashes are looked up, CLIP embeddings compared one by one with those of the run's accepted images and of the real images
//! that it told: a dot product each, of 100,000 with 512 dimensions 50 ms. Golden images, which nobody else may read, are compared
//! by their hashes alone.
//!
//! The indices live in memory and hold what the database holds, at every moment that matters: they are asked within the transaction
//! that admits, which has the write lock, and first catch up with the rows that were committed since. So nothing is ever to be put in
//! after a commit or taken out after a rollback, and a start needs no more than empty ones.

mod embedding;
mod index;
mod real;

use std::collections::{HashMap, hash_map::Entry};

use sqlx::FromRow;
use tokio::sync::Mutex;

pub(crate) use embedding::Embedding;
pub(crate) use index::is_informative;
pub use index::{HashIndex, MAX_DISTANCE};
use real::RealEmbeddings;
pub use real::add_embeddings;

use crate::{database::Connection, error::StoreError, runs::Run, store::blocking};

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
    real: RealEmbeddings,
    /// Candidates that were admitted before this one are here.
    next_position: i64,
}

/// What an image was made of, and for.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    /// Id of the real image.
    pub(crate) source: String,
    /// The class.
    pub(crate) target: i64,
    /// `None` where it was not told.
    pub(crate) embedding: Option<Embedding>,
}

impl Edit {
    fn is_sibling_of(&self, other: &Self) -> bool {
        self.source == other.source && self.target != other.target
    }
}

impl Duplicates {
    /// Whether a candidate with this hash is a near-duplicate of an accepted or a real image by what the run compares. `transaction`
    /// holds the write lock.
    pub(crate) async fn has_near(
        &self,
        transaction: &mut Connection,
        run: &Run,
        (edit, hash): (&Edit, u64),
    ) -> Result<bool, StoreError> {
        if run.max_phash_distance.is_none() && run.max_clip_cosine.is_none() {
            return Ok(false);
        }
        let mut indices = self.0.lock().await;
        let Indices { real, accepted } = &mut *indices;
        let accepted = room(accepted, &run.id).or_default();
        accepted.catch_up(transaction, &run.id).await?;
        if let Some(cosine) = run.max_clip_cosine {
            accepted.real.catch_up(transaction, &run.id).await?;
            if accepted.has_like(edit, cosine) {
                return Ok(true);
            }
        }
        let distance = run.max_phash_distance.map(u32::try_from);
        let Some(Ok(distance)) = distance else {
            return Ok(false);
        };
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

#[derive(FromRow)]
struct AdmittedRow {
    position: i64,
    phash: i64,
    source_image_id: String,
    target: i64,
    embedding: Option<Vec<u8>>,
}

impl Accepted {
    /// Whether the embedding of an accepted image, no sibling, or of a real one, not the source, has at least this cosine with
    /// the edit's.
    fn has_like(&self, edit: &Edit, cosine: f64) -> bool {
        let Some(embedding) = &edit.embedding else {
            return false;
        };
        let like = |other| embedding.cosine(other) >= cosine;
        self.real.others_than(&edit.source).any(like)
            || self.edits.iter().any(|other| {
                !other.is_sibling_of(edit) && other.embedding.as_ref().is_some_and(like)
            })
    }

    /// Adds what was admitted since.
    async fn catch_up(
        &mut self,
        transaction: &mut Connection,
        run_id: &str,
    ) -> Result<(), StoreError> {
        let admitted: Vec<AdmittedRow> = sqlx::query_as(
            "SELECT position, phash, source_image_id, target, embedding FROM candidates
             WHERE run_id = $1 AND settlement = 'admitted' AND position >= $2",
        )
        .bind(run_id)
        .bind(self.next_position)
        .fetch_all(transaction)
        .await?;
        // Without a pause from here on: a caller that leaves must not leave half of it.
        for row in admitted {
            self.next_position = self.next_position.max(row.position + 1);
            self.index
                .insert(row.phash.cast_unsigned(), self.edits.len());
            self.edits.push(Edit {
                source: row.source_image_id,
                target: row.target,
                embedding: row.embedding.as_deref().map(Embedding::from_bytes),
            });
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
    blocking(move || {
        let mut index = HashIndex::default();
        for hash in hashes {
            index.insert(hash.cast_unsigned(), ());
        }
        index.shrink_to_fit();
        Ok(index)
    })
    .await
}
