//! Signing of accepted images, each once: the signed file is kept and recorded, so that another export writes the same bytes.
//!
//! A candidate's own blob stays what the gates judged. The signed file is a blob of its own, recorded with the certificate
//! that signed it; where another certificate is configured, images are signed anew.

use std::{collections::HashMap, sync::Arc};

use rayon::prelude::*;
use saga_provenance::Snapshot;

use super::{Accepted, reports};
use crate::{
    error::StoreError,
    store::{Store, blocking},
};

/// Signs the images of one run.
pub(super) struct Signing {
    store: Store,
    /// Signed file by candidate, of those signed before.
    known: Arc<HashMap<String, String>>,
}

/// What became of one image.
enum Outcome {
    SignedBefore,
    SignedNow,
    /// Why not.
    Unsigned(String),
}

impl Signing {
    /// # Errors
    /// [`StoreError::Provenance`] where the certificate can no longer sign.
    pub(super) async fn of(store: &Store, run_id: &str) -> Result<Self, StoreError> {
        let identity = store.identity.clone();
        blocking(move || Ok(identity.check()?)).await?;
        let known: Vec<(String, String)> = sqlx::query_as(
            "SELECT s.candidate_id, s.blake3 FROM signed_images s JOIN candidates c ON c.id = s.candidate_id
             WHERE c.run_id = $1 AND s.certificate = $2",
        )
        .bind(run_id)
        .bind(store.identity.fingerprint())
        .fetch_all(&mut *store.database.read().await?)
        .await?;
        Ok(Self {
            store: store.clone(),
            known: Arc::new(known.into_iter().collect()),
        })
    }

    /// Signs a batch in parallel. Returns it with the hashes of the signed files, and the reason for each that cannot be
    /// signed: those leave as they are.
    pub(super) async fn sign(
        &self,
        images: Vec<Accepted>,
    ) -> Result<(Vec<Accepted>, Vec<String>), StoreError> {
        let (store, known) = (self.store.clone(), self.known.clone());
        let signed: Vec<(Accepted, Outcome)> = blocking(move || {
            let signed = images
                .into_par_iter()
                .map(|image| sign(&store, &known, image))
                .collect::<Result<Vec<_>, _>>()?;
            store
                .blobs
                .sync_folders(new(&signed).map(|image| image.file_blake3.as_str()))?;
            Ok(signed)
        })
        .await?;
        self.record(new(&signed)).await?;
        let mut unsigned = Vec::new();
        let images = signed.into_iter().map(|(image, outcome)| {
            if let Outcome::Unsigned(why) = outcome {
                tracing::warn!(
                    candidate = image.candidate.id,
                    why,
                    "exported without signature"
                );
                unsigned.push(why);
            }
            image
        });
        Ok((images.collect(), unsigned))
    }

    async fn record(&self, images: impl Iterator<Item = &Accepted>) -> Result<(), StoreError> {
        let mut transaction = self.store.database.write().await?;
        for image in images {
            sqlx::query(
                "INSERT INTO signed_images (candidate_id, certificate, blake3) VALUES ($1, $2, $3)
                 ON CONFLICT (candidate_id) DO UPDATE SET certificate = excluded.certificate, blake3 = excluded.blake3",
            )
            .bind(&image.candidate.id)
            .bind(self.store.identity.fingerprint())
            .bind(&image.file_blake3)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// Those that have to be recorded.
fn new(signed: &[(Accepted, Outcome)]) -> impl Iterator<Item = &Accepted> {
    let new = signed
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::SignedNow));
    new.map(|(image, _)| image)
}

fn sign(
    store: &Store,
    known: &HashMap<String, String>,
    mut image: Accepted,
) -> Result<(Accepted, Outcome), StoreError> {
    if let Some(blake3) = known.get(&image.candidate.id) {
        image.file_blake3.clone_from(blake3);
        return Ok((image, Outcome::SignedBefore));
    }
    let judged = store.blobs.read(&image.blake3)?;
    let outcome = match saga_provenance::sign(&store.identity, &judged, &snapshot(&image)) {
        Ok(signed) => {
            image.file_blake3 = store.blobs.put_unsynced(&signed)?;
            Outcome::SignedNow
        }
        Err(e) => Outcome::Unsigned(e.to_string()),
    };
    Ok((image, outcome))
}

fn snapshot(image: &Accepted) -> Snapshot {
    let (candidate, made) = (&image.candidate, &image.candidate.provenance);
    Snapshot {
        run_id: candidate.run_id.clone(),
        candidate_id: candidate.id.clone(),
        label: image.label.clone(),
        backend: made.backend.clone(),
        backend_version: made.backend_version.clone(),
        prompt: made.prompt.clone(),
        seed: made.seed,
        parameters: made.parameters.clone(),
        source_blake3: made.source_blake3.clone(),
        image_blake3: image.blake3.clone(),
        cost_usd: made.cost_usd,
        time: reports::timestamp(candidate.created_at),
    }
}
