//! The finished model's directory: the Hugging Face files and `training.json`, which says what made them.

use std::path::{Path, PathBuf};

use saga_models::{
    Environment, ModelError, checksums, diffusion::neighbours, directory, preprocess,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::TrainError,
    fit::{Best, Epoch, Learner, Scores},
    preprocessing,
    request::Job,
};

/// Name of the record beside the weights.
const RECORD: &str = "training.json";
/// Folder of the models that are kept.
pub const VERSIONS: &str = "versions";
/// Raised whenever the same request would give other weights.
const FORMAT: u32 = 2;

/// `training.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// BLAKE3 of what decides the weights: request, data and code format.
    pub request_hash: String,
    pub dataset_hash: String,
    /// Of the weights beside it.
    pub revision: String,
    pub environment: Environment,
    pub seconds: f64,
    pub best_epoch: u32,
    pub val_accuracy: f64,
    pub val_balanced_accuracy: f64,
    pub val_macro_f1: f64,
    pub val_loss: f64,
    /// By class in label order; null for a class without val images.
    pub val_recall: Vec<Option<f64>>,
    /// `[truth][prediction]` on val.
    pub val_confusion: serde_json::Value,
    pub labels: Vec<String>,
    /// Why training stopped before its last step; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    pub request: serde_json::Value,
    pub epochs: Vec<EpochRecord>,
}

/// One epoch of `training.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    pub epoch: u32,
    pub train_loss: f64,
    pub val_loss: f64,
    pub val_accuracy: f64,
    pub val_macro_f1: f64,
    pub learning_rate: f64,
    pub backbone_learning_rate: f64,
    pub gradient_norm: f64,
    pub weight_norm: f64,
    pub images_per_second: f64,
    pub utilisation: f64,
}

impl From<&Epoch> for EpochRecord {
    fn from(epoch: &Epoch) -> Self {
        Self {
            epoch: epoch.epoch,
            train_loss: epoch.train_loss,
            val_loss: epoch.scores.loss,
            val_accuracy: epoch.scores.confusion.accuracy(),
            val_macro_f1: epoch.scores.confusion.macro_f1(),
            learning_rate: epoch.learning_rate,
            backbone_learning_rate: epoch.backbone_learning_rate,
            gradient_norm: epoch.gradient_norm,
            weight_norm: epoch.weight_norm,
            images_per_second: epoch.images_per_second,
            utilisation: epoch.utilisation,
        }
    }
}

/// What is known of a job before it trains, and identifies its result.
#[derive(Clone, Debug)]
pub struct Identity {
    pub request_hash: String,
    pub dataset_hash: String,
    pub request: serde_json::Value,
}

impl Identity {
    /// Of a job on data with this hash, whose images are prepared like this, in this precision.
    pub fn new(
        job: &Job,
        images: &preprocess::Config,
        dataset_hash: String,
        precision: &str,
    ) -> Result<Self, TrainError> {
        let initial = job
            .init_from
            .as_deref()
            .map(directory::revision)
            .transpose()?;
        let request =
            serde_json::to_value(job).map_err(|error| TrainError::Thread(error.to_string()))?;
        // Of these alone the weights are others since: a head trains alone on a backbone that computes as when served, and patience
        // waits for the macro F1 alone.
        let settings = &job.settings;
        let format = FORMAT
            + u32::from(settings.transfer.head_warmup > 0.0)
            + u32::from(settings.patience > 0);
        // Left out where it is the custom, which was the only choice once.
        let customary = preprocessing::customary(job.kind, job.architecture.image_size);
        let images = (*images != customary).then_some(images);
        let all = match images {
            None => serde_json::json!([format, request, dataset_hash, initial, precision]),
            Some(images) => {
                serde_json::json!([format, request, dataset_hash, initial, precision, images])
            }
        };
        let all = all.to_string();
        Ok(Self {
            request_hash: saga_imaging::blake3_hex(all.as_bytes()),
            dataset_hash,
            request,
        })
    }
}

/// The record of a directory that is complete for this identity: same request, and files as they were written.
pub fn finished(output: &Path, identity: &Identity) -> Option<Record> {
    let record = read_record(output)?;
    let same = record.request_hash == identity.request_hash && record.stopped.is_none();
    (same && is_whole(output, &record)).then_some(record)
}

fn is_whole(directory: &Path, record: &Record) -> bool {
    let intact = checksums::verify(directory);
    if let Err(error) = &intact {
        tracing::warn!(folder = %directory.display(), %error, "a finished model was changed; it is made anew");
    }
    intact.is_ok() && directory::revision(directory).is_ok_and(|found| found == record.revision)
}

/// Removes the weights of a training that was stopped, once the same request has ended well.
pub fn remove_stopped(last_good: &Path, identity: &Identity) {
    let superseded =
        read_record(last_good).is_some_and(|record| record.request_hash == identity.request_hash);
    if superseded && let Err(error) = std::fs::remove_dir_all(last_good) {
        tracing::warn!(%error, folder = %last_good.display(), "superseded weights stay behind");
    }
}

fn read_record(directory: &Path) -> Option<Record> {
    serde_json::from_slice(&std::fs::read(directory.join(RECORD)).ok()?).ok()
}

/// What a training came to.
pub struct Outcome<'a> {
    pub identity: &'a Identity,
    pub labels: &'a [String],
    pub best: Best,
    pub epochs: Vec<Epoch>,
    pub environment: Environment,
    pub seconds: f64,
    pub stopped: Option<String>,
}

/// Replaces `output` at once by the model's files, a model card, the record, and the checksums of what it answers by.
pub fn write(output: &Path, outcome: Outcome, model: &dyn Learner) -> Result<Record, TrainError> {
    let mut record = record(outcome);
    directory::replace(output, |new| {
        model.write(new)?;
        record.revision = directory::revision(new)?;
        let card = new.join(directory::MODEL_CARD);
        std::fs::write(&card, model_card(&record))
            .map_err(|source| ModelError::Io { path: card, source })?;
        directory::write_json(&new.join(RECORD), &record)?;
        // Without them the model answers as with them.
        checksums::write(new, &[neighbours::FILE, directory::MODEL_CARD])
    })?;
    Ok(record)
}

/// Where the finished model of `output`, which nobody else may write now, lies: there, or to `keep` it under a second name below the
/// folder `models` that no later job takes. What is there and whole stays.
pub fn place(
    models: &Path,
    output: &Path,
    record: &Record,
    keep: bool,
) -> Result<PathBuf, TrainError> {
    if !keep {
        return Ok(output.to_owned());
    }
    // Weights may be the same under other labels or another preparation, which the request decides.
    let request = record.request_hash.get(..16).unwrap_or_default();
    let name = format!("{}-{request}", record.revision);
    let kept = models.join(VERSIONS).join(name);
    if !is_whole(&kept, record) {
        directory::replace(&kept, |new| directory::link(output, new))?;
    }
    Ok(kept)
}

/// Where the best weights of a training that was stopped go.
pub fn last_good(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push("-last-good");
    output.with_file_name(name)
}

fn record(outcome: Outcome) -> Record {
    let Scores { loss, confusion } = &outcome.best.scores;
    Record {
        request_hash: outcome.identity.request_hash.clone(),
        dataset_hash: outcome.identity.dataset_hash.clone(),
        revision: String::new(),
        environment: outcome.environment,
        seconds: outcome.seconds,
        best_epoch: outcome.best.epoch,
        val_accuracy: confusion.accuracy(),
        val_balanced_accuracy: confusion.balanced_accuracy(),
        val_macro_f1: confusion.macro_f1(),
        val_loss: *loss,
        val_recall: confusion.recalls(),
        val_confusion: serde_json::json!(confusion),
        labels: outcome.labels.to_vec(),
        stopped: outcome.stopped,
        request: outcome.identity.request.clone(),
        epochs: outcome.epochs.iter().map(EpochRecord::from).collect(),
    }
}

/// README.md with the front matter that Hugging Face reads.
fn model_card(record: &Record) -> String {
    let is = |wanted: &str| {
        let kind = record.request.get("kind");
        kind.is_some_and(|kind| kind == wanted)
    };
    if is("diffusion") {
        return diffusion_card(record);
    }
    let recalls: String = record
        .labels
        .iter()
        .zip(&record.val_recall)
        .map(|(label, recall)| match recall {
            Some(recall) => format!("| {label} | {recall:.4} |\n"),
            None => format!("| {label} | no val images |\n"),
        })
        .collect();
    let task = if is("clip") {
        "zero-shot-image-classification"
    } else {
        "image-classification"
    };
    format!(
        "---\nlibrary_name: transformers\npipeline_tag: {task}\n---\n\n# Trained by SAGA\n\n\
         Trained from the train split whose content hash is `{}`; `training.json` holds every setting.\n\n\
         On the val split, best epoch {}: accuracy {:.4}, balanced accuracy {:.4}, macro F1 {:.4}.\n\n\
         | class | recall |\n|---|---|\n{recalls}",
        record.dataset_hash,
        record.best_epoch,
        record.val_accuracy,
        record.val_balanced_accuracy,
        record.val_macro_f1,
    )
}

/// The same of a diffusion model.
fn diffusion_card(record: &Record) -> String {
    format!(
        "---\nlibrary_name: diffusers\npipeline_tag: image-to-image\n---\n\n# Trained by SAGA\n\n\
         Makes images of the classes {}, in this order; one class more stands for none of them, for guidance. Trained from the \
         train split whose content hash is `{}`; `training.json` holds every setting. `neighbours.safetensors` holds thumbnails of \
         the training images: leave it out where they must not be shown.\n\n\
         On the val split, best epoch {}: mean square error {:.4}.\n",
        record.labels.join(", "),
        record.dataset_hash,
        record.best_epoch,
        record.val_loss,
    )
}
