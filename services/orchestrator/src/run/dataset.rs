//! Import and split of the real images.

use std::pin::pin;

use futures::TryStreamExt as _;
use saga_proto::{
    labelstore::v1::{
        ClassCounts, GetDatasetRequest, ImportDatasetRequest, ReadSplitRequest, Split,
        SplitDatasetRequest, SplitPolicy, import_dataset_response::Event as Imported,
    },
    orchestrator::v1::watch_run_response::Event,
};
use serde::{Deserialize, Serialize};

use super::{RunContext, RunError, read, stage::Progress};

/// What the import found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImportRecord {
    layout: String,
    imported: u64,
    unchanged: u64,
    rejected: u64,
}

/// Train images by class.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SplitRecord {
    pub(crate) train: Vec<(String, u32)>,
}

/// Name of a data set: the folder's own name for people, a hash of the whole path to tell folders apart.
pub(crate) fn dataset_id(path: &str) -> String {
    let path = path.trim_end_matches('/');
    let folder = path.rsplit('/').next().unwrap_or_default();
    let name: String = folder
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
        .take(40)
        .collect();
    let hash = blake3::hash(path.as_bytes()).to_hex();
    format!(
        "{}-{}",
        if name.is_empty() { "data" } else { &name },
        &hash[..16]
    )
}

/// Imports the folder; the same folder again adds nothing.
pub(crate) async fn import(context: &RunContext) -> Result<ImportRecord, RunError> {
    let request = ImportDatasetRequest {
        dataset_id: context.dataset_id.clone(),
        path: context.options.dataset_path.clone(),
        classes: context.recipe.classes.clone(),
    };
    let store = &context.services.datasets;
    let mut stream = store
        .call(request, |mut store, request| async move {
            store.import_dataset(request).await
        })
        .await?;
    let mut progress = Progress::new("import");
    while let Some(response) = store.next(&mut stream).await? {
        match response.event {
            Some(Imported::Progress(at)) => context.events.emit(progress.at(at.done, at.total)),
            Some(Imported::Report(report)) => {
                context.events.emit(Event::ImportReport(report.clone()));
                let (imported, unchanged, rejected) =
                    (report.imported, report.unchanged, report.rejected);
                return Ok(ImportRecord {
                    layout: report.layout,
                    imported,
                    unchanged,
                    rejected,
                });
            }
            None => {}
        }
    }
    Err(RunError::Data(
        "the label store ended the import without a report".into(),
    ))
}

/// Divides the data set, golden first.
pub(crate) async fn split(context: &RunContext) -> Result<SplitRecord, RunError> {
    let split = context.recipe.split;
    let policy = SplitPolicy {
        golden_per_class: split.golden_per_class,
        golden_fraction: split.golden_fraction,
        val_fraction: split.val_fraction,
        calibration_fraction: split.calibration_fraction,
        seed: split.seed,
    };
    let request = SplitDatasetRequest {
        dataset_id: context.dataset_id.clone(),
        policy: Some(policy),
    };
    let store = &context.services.datasets;
    let classes = store
        .call(request, |mut store, request| async move {
            store.split_dataset(request).await
        })
        .await?
        .classes;
    if classes.iter().filter(|class| class.train > 0).count() < 2 {
        let path = &context.options.dataset_path;
        return Err(RunError::Data(format!(
            "{path} leaves fewer than two classes with train images; there is nothing to learn from"
        )));
    }
    Ok(SplitRecord {
        train: classes
            .into_iter()
            .map(|class| (class.label, class.train))
            .collect(),
    })
}

/// Real images by class and split.
pub(crate) async fn counts(context: &RunContext) -> Result<Vec<ClassCounts>, RunError> {
    let request = GetDatasetRequest {
        dataset_id: context.dataset_id.clone(),
    };
    let store = &context.services.datasets;
    Ok(store
        .call(request, |mut store, request| async move {
            store.get_dataset(request).await
        })
        .await?
        .classes)
}

/// Ids of the real train images by class, in the store's stable order.
pub(crate) async fn train_ids(context: &RunContext) -> Result<Vec<Vec<String>>, RunError> {
    let wanted = ReadSplitRequest {
        split: Split::Train.into(),
        omit_data: true,
        ..ReadSplitRequest::default()
    };
    let mut rows = pin!(read::split(context, wanted).await?);
    let mut ids = vec![Vec::new(); context.recipe.classes.len()];
    while let Some(row) = rows.try_next().await? {
        if let Some(class) = context
            .recipe
            .class_index(&row.label)
            .and_then(|class| ids.get_mut(class))
        {
            class.push(row.image_id);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_one_name_are_told_apart_and_a_trailing_slash_changes_nothing() {
        assert_ne!(dataset_id("/a/faces"), dataset_id("/b/faces"));
        assert_eq!(dataset_id("/a/faces"), dataset_id("/a/faces/"));
        assert!(dataset_id("/a/fa ces!").starts_with("faces-"));
        assert!(dataset_id(&format!("/{}", "x".repeat(200))).len() <= 64);
        assert!(dataset_id("/").starts_with("data-"));
    }
}
