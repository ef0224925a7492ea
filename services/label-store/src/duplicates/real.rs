//! CLIP embeddings of real images, as a run tells them.

use sqlx::FromRow;

use super::Embedding;
use crate::{database::Connection, error::StoreError, store::Store};

/// Most embeddings of one call.
const MAX_EMBEDDINGS: usize = 1_000;

/// Keeps embeddings of real images, by their ids; those that are there stay.
///
/// # Errors
/// [`StoreError::Invalid`] for too many, for one without a direction, or for an id that is no image of the run's data set but
/// golden ones; then nothing is kept.
pub async fn add_embeddings(
    store: &Store,
    run_id: &str,
    embeddings: Vec<(String, Vec<f32>)>,
) -> Result<(), StoreError> {
    if embeddings.len() > MAX_EMBEDDINGS {
        let why = format!(
            "{} given; at most {MAX_EMBEDDINGS} are taken",
            embeddings.len()
        );
        return Err(StoreError::invalid("embeddings", why));
    }
    let run = crate::runs::get(store, run_id).await?;
    let mut transaction = store.database.write().await?;
    for (i, (image, vector)) in embeddings.into_iter().enumerate() {
        let field = |name: &str| format!("embeddings[{i}].{name}");
        let invalid = |why: &str| StoreError::invalid(field("embedding"), why);
        let embedding = Embedding::of(&vector).map_err(|error| invalid(&error.to_string()))?;
        let embedding = embedding.ok_or_else(|| invalid("is empty"))?;
        let known: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM images WHERE id = $1 AND dataset_id = $2 AND split <> 'golden'",
        )
        .bind(&image)
        .bind(&run.dataset_id)
        .fetch_one(&mut *transaction)
        .await?;
        if known == 0 {
            let why = format!("'{image}' is no image of the run's data set that may be read");
            return Err(StoreError::invalid(field("image_id"), why));
        }
        sqlx::query(
            "INSERT INTO embeddings (run_id, image_id, embedding) VALUES ($1, $2, $3)
             ON CONFLICT (run_id, image_id) DO NOTHING",
        )
        .bind(run_id)
        .bind(image)
        .bind(embedding.to_bytes())
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Those of a run that are known so far.
#[derive(Debug, Default)]
pub(super) struct RealEmbeddings {
    all: Vec<(String, Embedding)>,
    /// Those before this one are here.
    next_position: i64,
}

#[derive(FromRow)]
struct Row {
    position: i64,
    image_id: String,
    embedding: Vec<u8>,
}

impl RealEmbeddings {
    /// Adds what was told since.
    pub(super) async fn catch_up(
        &mut self,
        transaction: &mut Connection,
        run_id: &str,
    ) -> Result<(), StoreError> {
        let told: Vec<Row> = sqlx::query_as(
            "SELECT position, image_id, embedding FROM embeddings WHERE run_id = $1 AND position >= $2",
        )
        .bind(run_id)
        .bind(self.next_position)
        .fetch_all(transaction)
        .await?;
        for row in told {
            self.next_position = self.next_position.max(row.position + 1);
            let embedding = Embedding::from_bytes(&row.embedding);
            self.all.push((row.image_id, embedding));
        }
        Ok(())
    }

    /// Of all images but one.
    pub(super) fn others_than<'a>(&'a self, image: &'a str) -> impl Iterator<Item = &'a Embedding> {
        let others = self.all.iter().filter(move |(id, _)| id != image);
        others.map(|(_, embedding)| embedding)
    }
}
