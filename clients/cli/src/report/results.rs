//! The part of `results.json` that the terminal and the report show.

use std::collections::BTreeMap;

use orchestrator::results::calibration::Calibration;
use serde::{Deserialize, Serialize};

/// Figures of one finished run; shares are 0 to 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    pub run_id: String,
    pub recipe: String,
    pub seed: u64,
    pub generator: String,
    /// Labels, in model order.
    pub classes: Vec<String>,
    pub dataset: Dataset,
    pub golden: Golden,
    pub baseline: Model,
    pub augmented: Model,
    pub delta: Delta,
    pub candidates: Candidates,
    /// Empty in results from before arms were counted.
    #[serde(default)]
    pub arms: Vec<Arm>,
    pub guard: Guard,
    /// Absent without candidates of the local diffusion model.
    #[serde(default)]
    pub memorisation: Option<Memorisation>,
    /// Absent where the thresholds are the recipe's.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// By stage.
    pub seconds: BTreeMap<String, f64>,
}

/// Real images.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dataset {
    /// Images by label and split.
    pub splits: BTreeMap<String, SplitCounts>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct SplitCounts {
    pub train: u32,
    pub val: u32,
    pub calibration: u32,
    pub golden: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Golden {
    pub counts: BTreeMap<String, u64>,
}

/// One model on the golden set; `None` where the set holds nothing to compute a figure from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Model {
    pub accuracy: Option<f64>,
    pub balanced_accuracy: Option<f64>,
    pub macro_f1: Option<f64>,
    pub per_class_recall: BTreeMap<String, Option<f64>>,
    /// Rows: true class, columns: predicted class, both in the order of `classes`.
    pub confusion: Vec<Vec<u64>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delta {
    pub accuracy: Option<f64>,
    pub balanced_accuracy: Option<f64>,
    pub macro_f1: Option<f64>,
    pub per_class_recall: BTreeMap<String, Option<f64>>,
    /// 95 % bootstrap interval of the difference in balanced accuracy.
    pub balanced_accuracy_interval: Option<[f64; 2]>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Candidates {
    pub planned: u64,
    pub generated: u64,
    pub accepted: u64,
    pub rejected_by: BTreeMap<String, u64>,
    pub errors: u64,
    /// Images still wanted where generation stopped early.
    #[serde(default)]
    pub open: u64,
    /// In US dollars.
    #[serde(default)]
    pub cost_usd: f64,
    pub accepted_by_class: BTreeMap<String, u32>,
}

/// Candidates of one source class for one target class, asked for with one text at one backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Arm {
    pub source: String,
    pub target: String,
    pub text: String,
    pub backend: String,
    pub attempts: u64,
    pub accepted: u64,
    pub accept_rate: f64,
    pub cost_usd: f64,
    /// `None` where none was accepted.
    pub usd_per_accepted: Option<f64>,
}

/// How the gates did on what the generator knows of its own faults; `None` where it does not know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Guard {
    pub bad_planted: Option<u64>,
    pub bad_accepted: Option<u64>,
    pub good: Option<u64>,
    pub good_accepted: Option<u64>,
    pub by_fault: BTreeMap<String, FaultCounts>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FaultCounts {
    pub generated: u64,
    pub passed_gates: u64,
    pub admitted: u64,
}

/// How near the local diffusion model's candidates came to its training images.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memorisation {
    pub candidates: u64,
    pub nearer_than_any: u64,
    pub nearer_than_most: u64,
    pub nearest: Nearest,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Nearest {
    pub candidate_id: String,
    pub image_id: String,
    /// Grey levels.
    pub distance: f64,
}

#[cfg(test)]
pub mod tests {
    use serde_json::{Value, json};

    /// Results of two classes, as an orchestrator writes them.
    pub fn example() -> Value {
        json!({
            "run_id": "run-1", "recipe": "studio", "seed": 1, "generator": "studio",
            "classes": ["neutral", "contempt"],
            "dataset": {"splits": {
                "neutral": {"train": 60, "val": 10, "calibration": 10, "golden": 20},
                "contempt": {"train": 20, "val": 5, "calibration": 5, "golden": 10},
            }},
            "golden": {"counts": {"neutral": 20, "contempt": 10}},
            "baseline": {
                "accuracy": 0.6017, "balanced_accuracy": 0.59, "macro_f1": 0.58,
                "per_class_recall": {"neutral": 0.8, "contempt": 0.5267}, "confusion": [[16, 4], [5, 5]],
            },
            "augmented": {
                "accuracy": 0.6467, "balanced_accuracy": 0.64, "macro_f1": 0.62,
                "per_class_recall": {"neutral": 0.8, "contempt": 0.5933}, "confusion": [[16, 4], [4, 6]],
            },
            "delta": {
                "accuracy": 0.045, "balanced_accuracy": 0.05, "macro_f1": 0.04,
                "per_class_recall": {"neutral": 0.0, "contempt": 0.0666},
                "balanced_accuracy_interval": [0.01, 0.09],
            },
            "candidates": {
                "planned": 30, "generated": 42, "accepted": 30, "rejected_by": {"ssim": 5, "vit": 7}, "errors": 0,
                "accepted_by_class": {"contempt": 30},
            },
            "arms": [{
                "source": "neutral", "target": "contempt", "text": "a contemptuous face", "backend": "studio",
                "attempts": 42, "accepted": 30, "accept_rate": 0.7142857, "cost_usd": 1.5, "usd_per_accepted": 0.05,
            }],
            "guard": {
                "bad_planted": 10, "bad_accepted": 1, "good": 32, "good_accepted": 29,
                "by_fault": {"blurred": {"generated": 10, "passed_gates": 1, "admitted": 1}},
            },
            "seconds": {"import": 1.5, "baseline": 60.0},
        })
    }
}
