//! The model card: README.md with the front matter that the hub reads, filled from what is on record beside the model and in its run.

use super::interval::wilson;
use crate::error::{ExportError, Result};
use saga_models::checkpoint::Architecture;
use saga_models::directory;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// What a trainer leaves beside the weights.
const TRAINING: &str = "training.json";
/// What a run leaves in its folder.
const RESULTS: &str = "results.json";
/// Classes with fewer golden images are named among the limits: their recall is known to within a fifth at best.
const FEW: u64 = 30;

/// What the card takes from training.json.
#[derive(Deserialize)]
struct Training {
    dataset_hash: String,
    best_epoch: u32,
    val_accuracy: f64,
    val_balanced_accuracy: f64,
    val_macro_f1: f64,
    #[serde(default)]
    stopped: Option<String>,
}

/// What the card takes from results.json.
#[derive(Deserialize)]
struct Results {
    run_id: String,
    recipe: String,
    seed: u64,
    generator: String,
    test_mode: bool,
    dataset: Dataset,
    golden: Golden,
    baseline: Scores,
    augmented: Scores,
    delta: Delta,
    candidates: Candidates,
    model_revisions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Dataset {
    splits: BTreeMap<String, Splits>,
}

#[derive(Deserialize)]
struct Splits {
    train: u64,
}

#[derive(Deserialize)]
struct Golden {
    counts: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Scores {
    accuracy: Option<f64>,
    balanced_accuracy: Option<f64>,
    macro_f1: Option<f64>,
    per_class_recall: BTreeMap<String, Option<f64>>,
}

#[derive(Deserialize)]
struct Delta {
    balanced_accuracy: Option<f64>,
    balanced_accuracy_interval: Option<[f64; 2]>,
}

#[derive(Deserialize)]
struct Candidates {
    accepted: u64,
}

/// One of a run's models.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Baseline,
    Augmented,
    Clip,
}

/// The card of the model in `dir`, called `name`.
pub(super) fn write(
    name: &str,
    dir: &Path,
    architecture: &Architecture,
    run: Option<&Path>,
) -> Result<String> {
    let revision = directory::revision(dir)?;
    let training = dir.join(TRAINING);
    let training: Option<Training> = match training.is_file() {
        true => Some(read(&training)?),
        false => None,
    };
    let results: Option<Results> = run.map(|run| read(&run.join(RESULTS))).transpose()?;
    let judged = match &results {
        Some(results) => Some((results, role(results, &revision)?)),
        None => None,
    };
    let mut card = front_matter(name, architecture, judged);
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(card, "{text}");
    };
    line(format!(
        "# {name}\n\nExported by SAGA from weights of revision `{revision}`."
    ));
    let labels = labels(architecture);
    if !labels.is_empty() {
        let quoted: Vec<String> = labels.iter().map(|label| cell(label)).collect();
        line(format!(
            "\nClasses, in the order of the logits: {}.",
            quoted.join(", ")
        ));
    }
    line("\n## Data\n".to_owned());
    match &training {
        Some(training) => line(format!(
            "Trained on the split whose content hash is `{}`.",
            training.dataset_hash
        )),
        None => line("What it was trained on is not on record.".to_owned()),
    }
    if let Some((results, role)) = judged {
        line(data(results, role));
    }
    line("\n## Metrics\n".to_owned());
    if let Some(training) = &training {
        line(format!(
            "On the val split, best epoch {}: accuracy {:.4}, balanced accuracy {:.4}, macro F1 {:.4}. The epoch was chosen by this \
             split, so that these figures flatter.\n",
            training.best_epoch,
            training.val_accuracy,
            training.val_balanced_accuracy,
            training.val_macro_f1
        ));
    }
    match judged {
        Some((results, role)) if role != Role::Clip => line(metrics(results, role)),
        _ => line("It was not judged on a sealed test set on record.".to_owned()),
    }
    line("\n## Limits\n".to_owned());
    for limit in limits(judged, training.as_ref()) {
        line(format!("- {limit}"));
    }
    Ok(card)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(ExportError::io(path))?;
    let read = serde_json::from_slice(&bytes);
    read.map_err(|source| ExportError::Record {
        path: path.to_path_buf(),
        source,
    })
}

/// Which of the run's models has these weights.
fn role(results: &Results, revision: &str) -> Result<Role> {
    let roles = [
        ("augmented", Role::Augmented),
        ("baseline", Role::Baseline),
        ("clip", Role::Clip),
    ];
    let found = roles.into_iter().find(|(name, _)| {
        results
            .model_revisions
            .get(*name)
            .is_some_and(|found| found == revision)
    });
    found
        .map(|(_, role)| role)
        .ok_or_else(|| ExportError::OtherRun {
            revision: revision.to_owned(),
            run: results.run_id.clone(),
        })
}

fn labels(architecture: &Architecture) -> Vec<String> {
    match architecture {
        Architecture::Vit(config) => config.classes.names(),
        Architecture::ResNet(config) => config.classes.names(),
        Architecture::Clip(_) => Vec::new(),
    }
}

/// A name within a line or table of Markdown.
fn cell(text: &str) -> String {
    let bare: String = text.chars().filter(|c| !c.is_control()).collect();
    bare.replace('|', "\\|").replace('`', "'")
}

impl Results {
    fn scores(&self, role: Role) -> &Scores {
        match role {
            Role::Augmented => &self.augmented,
            Role::Baseline | Role::Clip => &self.baseline,
        }
    }

    fn golden_images(&self) -> u64 {
        self.golden.counts.values().sum()
    }

    fn real_images(&self) -> u64 {
        self.dataset.splits.values().map(|split| split.train).sum()
    }
}

/// Values are JSON, which is YAML too, so that no name can break out of its place.
fn front_matter(
    name: &str,
    architecture: &Architecture,
    judged: Option<(&Results, Role)>,
) -> String {
    let task = match architecture {
        Architecture::Clip(_) => "zero-shot-image-classification",
        Architecture::Vit(_) | Architecture::ResNet(_) => "image-classification",
    };
    let mut entries = vec![
        ("library_name", json!("transformers")),
        ("pipeline_tag", json!(task)),
        ("tags", json!(["saga"])),
    ];
    if let Some((results, role)) = judged
        && role != Role::Clip
    {
        entries.push(("model-index", model_index(name, task, results, role)));
    }
    let lines: String = entries
        .iter()
        .map(|(key, value)| format!("{key}: {value}\n"))
        .collect();
    format!("---\n{lines}---\n\n")
}

fn model_index(name: &str, task: &str, results: &Results, role: Role) -> Value {
    let scores = results.scores(role);
    let metrics: Vec<Value> = [
        ("accuracy", "Accuracy", scores.accuracy),
        ("recall", "Balanced accuracy", scores.balanced_accuracy),
        ("f1", "Macro F1", scores.macro_f1),
    ]
    .into_iter()
    .filter_map(|(kind, name, value)| Some(json!({"type": kind, "name": name, "value": value?})))
    .collect();
    let dataset =
        json!({"type": "saga-golden", "name": format!("{}, sealed golden set", results.recipe)});
    json!([{"name": name, "results": [{"task": {"type": task}, "dataset": dataset, "metrics": metrics}]}])
}

fn data(results: &Results, role: Role) -> String {
    let real = results.real_images();
    let synthetic = match role {
        Role::Augmented => results.candidates.accepted,
        Role::Baseline | Role::Clip => 0,
    };
    let share = 100.0 * synthetic as f64 / (real + synthetic).max(1) as f64;
    format!(
        "Recipe {}, run `{}`, seed {}: {real} real images and {synthetic} synthetic ones ({share:.1} %), made by {} and admitted by \
         the guard's gates.",
        cell(&results.recipe),
        cell(&results.run_id),
        results.seed,
        cell(&results.generator),
    )
}

fn metrics(results: &Results, role: Role) -> String {
    let scores = results.scores(role);
    let images = results.golden_images();
    let figure =
        |value: Option<f64>| value.map_or("not known".to_owned(), |value| format!("{value:.4}"));
    let ranged = |share: Option<f64>, of: u64| {
        let interval = share.and_then(|share| wilson(share * of as f64, of as f64));
        let interval = interval.map_or(String::new(), |[low, high]| {
            format!("{low:.4} to {high:.4}")
        });
        format!("{} | {interval} | {of}", figure(share))
    };
    let mut text = format!(
        "On the sealed golden set of {images} real images, which no training or calibration has seen. Intervals are Wilson's, 95 %, \
         over images.\n\n| | share | interval | images |\n|---|---|---|---|\n| accuracy | {} |\n",
        ranged(scores.accuracy, images)
    );
    for (label, recall) in &scores.per_class_recall {
        let of = results.golden.counts.get(label).copied().unwrap_or(0);
        let _ = writeln!(
            text,
            "| recall of {} | {} |",
            cell(label),
            ranged(*recall, of)
        );
    }
    let _ = write!(
        text,
        "\nBalanced accuracy {}, macro F1 {}.",
        figure(scores.balanced_accuracy),
        figure(scores.macro_f1)
    );
    if role == Role::Augmented
        && let (Some(delta), Some([low, high])) = (
            results.delta.balanced_accuracy,
            results.delta.balanced_accuracy_interval,
        )
    {
        let _ = write!(
            text,
            " Against the same training without synthetic images, balanced accuracy changed by {delta:+.4} (95 % interval of a paired \
             bootstrap over images {low:+.4} to {high:+.4})."
        );
    }
    text
}

fn limits(judged: Option<(&Results, Role)>, training: Option<&Training>) -> Vec<String> {
    let mut limits = vec![
        "Its classes are all it knows: a picture of anything else gets one of them.".to_owned(),
        "Figures hold for pictures like those it was judged on, prepared as `preprocessor_config.json` says.".to_owned(),
    ];
    if let Some(stopped) = training.and_then(|training| training.stopped.as_ref()) {
        limits.push(format!("Its training stopped early: {}.", cell(stopped)));
    }
    let Some((results, role)) = judged else {
        limits.push(
            "No run is on record that says how much of its training data was synthetic.".to_owned(),
        );
        return limits;
    };
    limits.push("Intervals tell what other images may change, not what another seed may: it was trained once.".to_owned());
    let few: Vec<String> = results
        .golden
        .counts
        .iter()
        .filter(|(_, count)| **count < FEW)
        .map(|(label, count)| format!("{} ({count})", cell(label)))
        .collect();
    if !few.is_empty() {
        limits.push(format!(
            "Classes with fewer than {FEW} golden images: {}.",
            few.join(", ")
        ));
    }
    if role == Role::Augmented && results.candidates.accepted > 0 {
        limits.push("Synthetic images carry the habits of what made them; gates let through what they cannot see.".to_owned());
    }
    if results.test_mode {
        limits.push("The run was a trial (test mode) with few candidates.".to_owned());
    }
    limits
}
