//! Export of a run into a folder: accepted images, tables, and reports.
//!
//! | file | holds |
//! |---|---|
//! | `aug_{label}/` | accepted images |
//! | `augmented_labels.csv` | accepted images with their sources |
//! | `augmented.tar` | both of these in one file |
//! | `combined_labels.csv` | original and accepted images, golden left out |
//! | `train.csv val.csv calibration.csv` | the sides of the split, accepted images in train |
//! | `test.csv testset_saved.csv` | paths and labels of the golden images, nothing more |
//! | `synthetic_meta.csv synthetic_meta.jsonl` | how each accepted image was made and judged |
//! | `label_map.json status.json env_report.json` | classes, figures, surroundings |
//!
//! `pth` of an original image is relative to the data set (`dataset_path` in `status.json`), of an accepted one to the
//! export. Images are copied, not linked, so that whoever edits an export cannot damage the store. Each file appears
//! whole or not at all; exporting again writes what is missing or has changed.

mod archive;
mod files;
mod reports;
mod tables;

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use crate::{
    candidates::{self, Candidate, Which},
    dataset::{self, Dataset},
    error::StoreError,
    images::{self, ImageRow},
    runs::{self, Run, Stage},
    split::{Policy, Side},
    store::{Store, blocking},
};

/// Images copied between two reports of progress.
const BATCH: usize = 64;

/// Files written out of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

/// Everything an export is made from. Golden images are rows without a way to their bytes.
pub(crate) struct Contents {
    pub(crate) run: Run,
    pub(crate) stages: Vec<Stage>,
    pub(crate) dataset: Dataset,
    pub(crate) policy: Policy,
    /// Real images by side, in path order.
    pub(crate) real: Vec<(Side, ImageRow)>,
    pub(crate) accepted: Vec<Accepted>,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
}

/// An accepted image and where it goes.
#[derive(Clone)]
pub(crate) struct Accepted {
    pub(crate) candidate: Candidate,
    pub(crate) blake3: String,
    pub(crate) label: String,
    pub(crate) source_label: String,
    /// Relative to the export.
    pub(crate) path: String,
}

/// Writes a run's outputs into a folder, telling its progress. Ends early where nobody listens any more.
///
/// # Errors
/// A relative folder, a folder that holds another run, a data set without split, and what the disk reports.
pub async fn export(
    store: &Store,
    run_id: &str,
    directory: &Path,
    progress: &mpsc::Sender<Progress>,
) -> Result<(), StoreError> {
    if !directory.is_absolute() {
        let why = format!(
            "{} is not absolute; the store's folders are not the caller's",
            directory.display()
        );
        return Err(StoreError::invalid("directory", why));
    }
    let run = runs::get(store, run_id).await?;
    reports::check_folder(directory, run_id)?;
    let contents = gather(store, run).await?;
    let accepted = contents.accepted.clone();
    let tables = {
        let directory = directory.to_path_buf();
        blocking(move || {
            let mut tables = tables::tables(&contents)?;
            tables.extend(reports::reports(&contents)?);
            files::create_folder(&directory)?;
            Ok(tables)
        })
        .await?
    };
    // The archive is one file more.
    let total = (accepted.len() + tables.len() + 1) as u64;
    let mut done = 0;
    for chunk in accepted.chunks(BATCH) {
        copy_images(store, directory, chunk.to_vec()).await?;
        done += chunk.len() as u64;
        if progress.send(Progress { done, total }).await.is_err() {
            return Ok(());
        }
    }
    let directory = directory.to_path_buf();
    blocking(move || {
        tables
            .iter()
            .try_for_each(|(name, bytes)| files::write_atomically(&directory.join(name), bytes))?;
        archive::write(&directory, &accepted)
    })
    .await?;
    // The caller may have left; the export is complete all the same.
    let _ = progress.send(Progress { done: total, total }).await;
    Ok(())
}

async fn gather(store: &Store, run: Run) -> Result<Contents, StoreError> {
    let (dataset, policy) = dataset::get_divided(store, &run.dataset_id).await?;
    let mut real = Vec::new();
    for side in [Side::Train, Side::Val, Side::Calibration, Side::Golden] {
        let rows = images::all_rows(store, &dataset.id, side).await?;
        real.extend(rows.into_iter().map(|row| (side, row)));
    }
    let mut accepted = Vec::new();
    let mut after = -1;
    loop {
        let page = candidates::page(store, &run.id, Which::Admitted, after).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for candidate in page {
            accepted.push(place(store, &dataset, candidate).await?);
        }
    }
    Ok(Contents {
        stages: runs::stages(store, &run.id).await?,
        run,
        dataset,
        policy,
        real,
        accepted,
        now: store.clock.now(),
    })
}

async fn place(
    store: &Store,
    dataset: &Dataset,
    candidate: Candidate,
) -> Result<Accepted, StoreError> {
    let blake3 = candidate
        .blake3
        .clone()
        .ok_or_else(|| StoreError::Corrupt(format!("image of candidate {}", candidate.id)))?;
    let label = dataset.label(candidate.target)?.to_owned();
    let source_label = dataset.label(candidate.source_label)?.to_owned();
    let blob = store.blobs.path(&blake3);
    let extension = blocking(move || files::extension(&blob)).await?;
    let path = format!("aug_{label}/{}.{extension}", candidate.id);
    Ok(Accepted {
        candidate,
        blake3,
        label,
        source_label,
        path,
    })
}

async fn copy_images(
    store: &Store,
    directory: &Path,
    images: Vec<Accepted>,
) -> Result<(), StoreError> {
    let (blobs, directory): (_, PathBuf) = (store.blobs.clone(), directory.to_path_buf());
    blocking(move || {
        images.iter().try_for_each(|image| {
            let path = directory.join(&image.path);
            if let Some(folder) = path.parent() {
                files::create_folder(folder)?;
            }
            files::write_atomically(&path, &blobs.read(&image.blake3)?)
        })
    })
    .await
}
