//! Recipes: everything that describes one domain and one experiment, apart from where the services run.
//!
//! A recipe is TOML. Unknown keys are errors, and [`Recipe::parse`] checks every value before anything starts.

mod diffusion;
mod error;
mod generator;
mod library;
mod prompts;
mod table;
mod training;
mod validate;

use std::collections::BTreeMap;

use saga_statistics::threshold::Promise;
use serde::{Deserialize, Serialize};

pub use diffusion::{Diffusion, NoiseSchedule, Prediction, UNet};
pub use error::RecipeError;
pub use generator::{Backend, Generator};
pub use library::Library;
pub use prompts::Prompts;
pub use table::with_texts;
pub use training::{Architecture, Head, Kind, Loss, Model, Sampling, Settings, Training};
pub(crate) use validate::name as check_name;

/// One domain: classes, prompts, split, generator, gates, plan, training and report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Letters, digits, `-`, `_` and `.`; at most 64.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Every random choice of a run derives from it.
    pub seed: u64,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// Texts of each class.
    pub prompts: Prompts,
    /// How real images are divided.
    pub split: Split,
    /// Who makes candidates.
    pub generator: Generator,
    /// What every candidate is brought to; absent: candidates stay as the generator made them.
    #[serde(default)]
    pub normalisation: Option<Normalisation>,
    /// The guard's cascade, cheapest gate first.
    pub gates: Vec<Gate>,
    /// What the gates' `min` are to keep for each class: a run chooses them on the calibration split, once its models are trained,
    /// and keeps the recipe's where none can be certified. Absent: the recipe's stay.
    #[serde(default)]
    pub calibration: Option<Promise>,
    /// How much is generated from what.
    pub plan: PlanPolicy,
    /// The models that are trained.
    pub training: Training,
    /// What the report shows.
    #[serde(default)]
    pub report: Report,
}

/// Division of the real images; shares are of a class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Golden images of a class, at most.
    pub golden_per_class: u32,
    /// Golden share of a class, at most; 0 to 0.9.
    pub golden_fraction: f64,
    /// Share of what golden leaves; 0 to 0.5.
    pub val_fraction: f64,
    /// Share of what golden leaves; 0 to 0.5.
    pub calibration_fraction: f64,
    /// Apart from the run's seed, so that all runs on a data set are judged on the same golden set.
    pub seed: u64,
}

/// Size and mode of every candidate, from before the gates on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Width and height in pixels, 16 to 4,096: the shorter side is resized to it and the middle kept.
    pub size: u32,
    /// One channel instead of three.
    #[serde(default)]
    pub grey: bool,
}

/// One gate of the cascade.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Name in results and in `rejected_by`.
    pub name: String,
    /// `quality-gate`, `ssim-gate`, `clip-gate`, `vit-classifier`, a key of the orchestrator's `addresses.gates`, or `http://host:port`.
    pub address: String,
    /// The gate's own defaults apply where a bound is absent.
    #[serde(default)]
    pub thresholds: Thresholds,
    /// Bounds that differ for a class, by label.
    #[serde(default)]
    pub per_class: BTreeMap<String, Thresholds>,
    /// Which loaded model judges; empty: the gate's default, and in a run the model that the run trained for it.
    #[serde(default)]
    pub model: String,
}

/// Accepted where `min <= score <= max`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Smallest accepted score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest accepted score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

impl Gate {
    /// The bounds in force for a class, as the gate contract takes them.
    pub fn thresholds_for(&self, label: &str) -> BTreeMap<&'static str, f64> {
        let own = self.per_class.get(label).copied().unwrap_or_default();
        [
            ("min", own.min.or(self.thresholds.min)),
            ("max", own.max.or(self.thresholds.max)),
        ]
        .into_iter()
        .filter_map(|(name, bound)| bound.map(|value| (name, value)))
        .collect()
    }
}

/// How many candidates are planned, from which sources, and when generation ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanPolicy {
    /// Largest synthetic share of a class in train; 0 to 0.95.
    pub max_synthetic_fraction: f64,
    /// What a class is filled up to.
    pub cap: Cap,
    /// How sources are chosen.
    pub allocation: Allocation,
    /// Tries at one source before the slot goes to its next one; 1 to 100.
    pub tries_per_source: u32,
    /// Sources of a slot; 1 to 32. For a bandit they are of different classes, and it chooses among them.
    pub sources_per_slot: u32,
    /// Generation stops after this many candidates in a row of which none was admitted; 1 to 1,000,000.
    pub stop_after_rejections: u32,
    /// Candidates under way at once; 1 to 1,000.
    pub in_flight: u32,
    /// Hamming distance of pHashes within which a candidate is a duplicate of an accepted image or of a real one other than its
    /// source, 0 to 4; absent: equal bytes only.
    pub max_phash_distance: Option<u32>,
    /// Cosine of CLIP embeddings from which on a candidate is a duplicate of an accepted image or of a real one other than its
    /// source, -1 to 1, in recipes that ask the clip-gate; absent: not compared.
    pub max_clip_cosine: Option<f64>,
}

impl PlanPolicy {
    /// Images that each of so many classes is filled up to; `None`: as many as the largest class has.
    pub fn class_size(&self, classes: usize) -> Option<u32> {
        let classes = u32::try_from(classes).unwrap_or(u32::MAX).max(1);
        match self.cap {
            Cap::Largest => None,
            Cap::Total(total) => Some(total.div_ceil(classes)),
        }
    }

    /// Whether half of a slot's tries are used up. A bandit then looks for what is accepted and no longer for what is cheap,
    /// so that a cheap arm which does not deliver costs tries, and not the image that the class needs.
    pub fn is_late(&self, attempt: u32) -> bool {
        attempt >= self.tries_per_source.saturating_mul(self.sources_per_slot) / 2
    }
}

/// What a class is filled up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cap {
    /// The size of the largest class in train.
    Largest,
    /// Its even share of this many images, rounded up: `cap = { total = 83000 }`.
    Total(u32),
}

/// How sources are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// All other classes with equal weight.
    Balance,
    /// Classes that the baseline confuses with the target come more often.
    Confusion,
    /// While the run goes, arms (source class, text, backend) that got more accepted for their cost come more often.
    Bandit,
}

/// What the report shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Candidates shown with source and verdicts; at most 1,000.
    pub samples: u32,
}

impl Default for Report {
    fn default() -> Self {
        Self { samples: 48 }
    }
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// Names the key, the value and the allowed range, or the line where the TOML breaks.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        let mut recipe: Self =
            toml::from_str(text).map_err(|error| RecipeError::Syntax(error.to_string()))?;
        recipe
            .training
            .classifier
            .settings
            .complete_for_classifier();
        recipe.validate()?;
        Ok(recipe)
    }

    /// Index of a class in label order.
    pub fn class_index(&self, label: &str) -> Option<usize> {
        self.classes.iter().position(|class| class == label)
    }

    /// Whether the cascade asks the service with this name.
    pub fn uses(&self, service: &str) -> bool {
        self.gates.iter().any(|gate| gate.address == service)
    }
}
