//! Export of a run into a folder: accepted images, tables, and reports.
//!
//! | file | holds |
//! |---|---|
//! | `aug_{label}/` | accepted images, with signed provenance |
//! | `augmented_labels.csv` | accepted images with their sources |
//! | `augmented.tar` | both of these in one file |
//! | `combined_labels.csv` | original and accepted images, golden left out |
//! | `train.csv val.csv calibration.csv` | the sides of the split, accepted images in train |
//! | `test.csv testset_saved.csv` | paths and labels of the golden images, nothing more |
//! | `synthetic_meta.csv synthetic_meta.jsonl` | how each accepted image was made and judged |
//! | `aug_cropped/{label}/ synthetic_meta_cropped.csv` | where asked for: faces cut out of accepted images, and where they were |
//! | `label_map.json status.json env_report.json` | classes, figures, surroundings |
//!
//! `pth` of an original image is relative to the data set (`dataset_path` in `status.json`), of an accepted one to the
//! export. Images are copied, not linked, so that whoever edits an export cannot damage the store. Each file appears
//! whole or not at all; exporting again writes what is missing or has changed.

mod archive;
mod faces;
mod files;
mod reports;
mod signing;
mod tables;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use faces::CutFace;
use saga_provenance::Identity;
use signing::Signing;
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

/// Steps done out of all: one an image, and a last one for tables, reports and archive.
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
    /// Side in pixels of the cut faces, where they are wanted, and those there are.
    pub(crate) face_side: Option<u32>,
    faces: Vec<CutFace>,
    /// How many accepted images are not signed, by reason.
    pub(crate) unsigned: BTreeMap<String, u64>,
    pub(crate) identity: Arc<Identity>,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
}

/// An accepted image and where it goes.
#[derive(Clone)]
pub(crate) struct Accepted {
    pub(crate) candidate: Candidate,
    /// Of the image as the gates judged it.
    pub(crate) blake3: String,
    /// Of the file that the export writes: the same image, signed where its format allows.
    pub(crate) file_blake3: String,
    pub(crate) label: String,
    pub(crate) source_label: String,
    /// How its file keeps the pixels, by Pillow's name.
    pub(crate) mode: &'static str,
    /// Relative to the export.
    pub(crate) path: String,
}

impl Accepted {
    /// Whether the file of this image carries signed provenance.
    pub(crate) fn is_signed(&self) -> bool {
        self.file_blake3 != self.blake3
    }
}

/// Writes a run's outputs into a folder, telling its progress; with `face_side`, faces of that many pixels, too. Ends early where
/// nobody listens any more.
///
/// # Errors
/// A relative folder, a folder that holds another run, a data set without split, and what the disk reports.
pub async fn export(
    store: &Store,
    run_id: &str,
    directory: &Path,
    face_side: Option<u32>,
    progress: &mpsc::Sender<Progress>,
) -> Result<(), StoreError> {
    if !directory.is_absolute() {
        let why = format!(
            "{} is not absolute; the store's folders are not the caller's",
            directory.display()
        );
        return Err(StoreError::invalid("directory", why));
    }
    face_side.map_or(Ok(()), faces::check)?;
    let run = runs::get(store, run_id).await?;
    reports::check_folder(directory, run_id)?;
    let mut contents = gather(store, run).await?;
    contents.face_side = face_side;
    let signing = Signing::of(store, run_id).await?;
    let mut accepted = std::mem::take(&mut contents.accepted).into_iter();
    // One step more for tables, reports and archive.
    let total = accepted.len() as u64 + 1;
    loop {
        let batch: Vec<_> = accepted.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        let (batch, unsigned) = signing.sign(batch).await?;
        let faces = copy_images(store, directory, batch.clone(), face_side).await?;
        contents.faces.extend(faces);
        contents.accepted.extend(batch);
        for why in unsigned {
            *contents.unsigned.entry(why).or_default() += 1;
        }
        let done = contents.accepted.len() as u64;
        if progress.send(Progress { done, total }).await.is_err() {
            return Ok(());
        }
    }
    let directory = directory.to_path_buf();
    blocking(move || {
        let mut tables = tables::tables(&contents)?;
        tables.extend(reports::reports(&contents)?);
        files::create_folder(&directory)?;
        tables
            .iter()
            .try_for_each(|(name, bytes)| files::write_atomically(&directory.join(name), bytes))?;
        archive::write(&directory, &contents.accepted)
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
        face_side: None,
        faces: Vec::new(),
        unsigned: BTreeMap::new(),
        identity: store.identity.clone(),
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
    let header = move || Ok((files::extension(&blob)?, files::mode(&blob)?));
    let (extension, mode) = blocking(header).await?;
    let path = format!("aug_{label}/{}.{extension}", candidate.id);
    Ok(Accepted {
        candidate,
        file_blake3: blake3.clone(),
        blake3,
        label,
        source_label,
        mode,
        path,
    })
}

async fn copy_images(
    store: &Store,
    directory: &Path,
    images: Vec<Accepted>,
    face_side: Option<u32>,
) -> Result<Vec<CutFace>, StoreError> {
    let (blobs, directory): (_, PathBuf) = (store.blobs.clone(), directory.to_path_buf());
    blocking(move || {
        images.iter().try_for_each(|image| {
            let path = directory.join(&image.path);
            if let Some(folder) = path.parent() {
                files::create_folder(folder)?;
            }
            files::write_atomically(&path, &blobs.read(&image.file_blake3)?)
        })?;
        let cut = |side| faces::cut(&directory, &blobs, &images, side);
        face_side.map_or_else(|| Ok(Vec::new()), cut)
    })
    .await
}
