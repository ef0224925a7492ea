//! Import of a data set: list its rows, check the images in parallel, store them in batches.
//!
//! Each batch writes its blobs, then commits its rows, so an import that is interrupted keeps what it committed and the
//! next one goes on from there.

mod affectnet;
mod check;
mod imagefolder;
mod listing;
mod manifest;

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;
use tokio::sync::mpsc;

use check::{Checked, Checker};
pub(crate) use check::{NewImage, Picture};
pub use listing::BadRow;
use listing::{ListedRow, Listing};

use crate::{
    dataset::{self, Dataset},
    error::StoreError,
    images,
    store::{Store, blocking},
};

/// Rows checked and committed together.
const BATCH: usize = 512;
/// Most bad rows a report names.
const REPORTED: usize = 1_000;

/// What to import; see `saga.labelstore.v1.ImportDatasetRequest`.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    pub dataset_id: String,
    pub path: PathBuf,
    pub classes: Vec<String>,
}

/// Rows done out of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    pub layout: &'static str,
    pub imported: u64,
    pub unchanged: u64,
    pub rejected: u64,
    /// At most 1,000.
    pub bad_rows: Vec<BadRow>,
}

impl ImportReport {
    fn reject(&mut self, row: BadRow) {
        self.rejected += 1;
        if self.bad_rows.len() < REPORTED {
            self.bad_rows.push(row);
        }
    }
}

/// Imports a data set, telling its progress after each batch. Ends early where nobody listens any more.
///
/// # Errors
/// A request that is wrong as a whole, another data set under the same id, or a failing disk. Bad rows are no errors.
pub async fn import(
    store: &Store,
    request: ImportRequest,
    progress: &mpsc::Sender<Progress>,
) -> Result<ImportReport, StoreError> {
    dataset::check_id("dataset_id", &request.dataset_id)?;
    if !request.classes.is_empty() {
        dataset::check_classes(&request.classes)?;
    }
    let path = allowed(&request.path, &store.config.store.import_roots)?;
    let listing = {
        let path = path.clone();
        blocking(move || listing::list(&path)).await?
    };
    let classes = match request.classes {
        given if !given.is_empty() => given,
        _ => listing.labels(),
    };
    dataset::check_classes(&classes)?;
    let dataset =
        dataset::register(store, &request.dataset_id, &path, listing.layout, &classes).await?;
    let known = images::known_images(store, &dataset.id).await?;
    run(store, dataset, listing, known, progress).await
}

/// The canonical path, where the configuration allows it.
fn allowed(path: &Path, roots: &[PathBuf]) -> Result<PathBuf, StoreError> {
    if !path.is_absolute() {
        return Err(listing::invalid(
            path,
            "is not absolute; the store's folders are not the caller's",
        ));
    }
    let path = fs::canonicalize(path)
        .map_err(|e| listing::invalid(path, &format!("cannot be read: {e}")))?;
    let within = |root: &PathBuf| fs::canonicalize(root).is_ok_and(|root| path.starts_with(root));
    if roots.is_empty() || roots.iter().any(within) {
        return Ok(path);
    }
    Err(listing::invalid(
        &path,
        "lies outside the folders of store.import_roots",
    ))
}

async fn run(
    store: &Store,
    dataset: Dataset,
    listing: Listing,
    known: HashMap<String, (usize, String)>,
    progress: &mpsc::Sender<Progress>,
) -> Result<ImportReport, StoreError> {
    let mut report = ImportReport {
        layout: listing.layout,
        ..ImportReport::default()
    };
    let total = (listing.rows.len() + listing.bad.len()) as u64;
    listing.bad.into_iter().for_each(|row| report.reject(row));
    let rows = without_duplicates(listing.rows, &mut report);
    let batch = Arc::new(Batch {
        store: store.clone(),
        dataset,
        root: listing.root,
        known,
    });
    for chunk in rows.chunks(BATCH) {
        let (worker, chunk) = (batch.clone(), chunk.to_vec());
        let (new, others) = blocking(move || worker.check(&chunk)).await?;
        images::insert_images(store, &batch.dataset.id, &new).await?;
        report.imported += new.len() as u64;
        for checked in others {
            match checked {
                Checked::Bad(row) => report.reject(row),
                _ => report.unchanged += 1,
            }
        }
        let done = report.imported + report.unchanged + report.rejected;
        if progress.send(Progress { done, total }).await.is_err() {
            break;
        }
    }
    report.bad_rows.sort_by_key(|row| row.line);
    Ok(report)
}

/// Keeps the first row of each path.
fn without_duplicates(rows: Vec<ListedRow>, report: &mut ImportReport) -> Vec<ListedRow> {
    let mut seen: HashSet<PathBuf> = HashSet::new();
    let (first, again) = rows.into_iter().partition::<Vec<_>, _>(|row| {
        seen.insert(
            Path::new(&row.path)
                .components()
                .filter(|c| *c != std::path::Component::CurDir)
                .collect(),
        )
    });
    for row in again {
        report.reject(BadRow::of(
            &row,
            "DUPLICATE_ROW",
            "an earlier row names the same file; that one is used",
        ));
    }
    first
}

/// What the worker threads share.
struct Batch {
    store: Store,
    dataset: Dataset,
    root: PathBuf,
    known: HashMap<String, (usize, String)>,
}

impl Batch {
    /// Checks rows in parallel; the blobs of the new ones are durable when it returns.
    fn check(&self, rows: &[ListedRow]) -> Result<(Vec<NewImage>, Vec<Checked>), StoreError> {
        let checker = Checker {
            root: &self.root,
            classes: &self.dataset.classes,
            limits: self.store.decode_limits(),
            blobs: &self.store.blobs,
            known: &self.known,
            divided: self.dataset.policy.is_some(),
        };
        let checked: Vec<Checked> = rows
            .par_iter()
            .map(|row| checker.check(row))
            .collect::<Result<_, _>>()?;
        let (mut new, mut others) = (Vec::new(), Vec::new());
        for outcome in checked {
            match outcome {
                Checked::New(image) => new.push(image),
                other => others.push(other),
            }
        }
        self.store
            .blobs
            .sync_folders(new.iter().map(|image| image.blake3.as_str()))?;
        Ok((new, others))
    }
}
