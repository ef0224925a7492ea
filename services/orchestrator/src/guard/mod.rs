//! The hallucination guard: a cascade of gates, cheapest first; the first rejection stops it.
//!
//! Only an explicit, well-formed acceptance of every gate accepts. A gate that cannot be reached, is not ready or answers
//! nonsense is an error that names gate and address.

mod error;
mod gate;
mod library;

use std::sync::Arc;

use saga_client::Priority;
use saga_proto::{
    gate::v1::{DescribeResponse, Item, Verdict},
    guard::v1::{Candidate, Decision},
};

pub use error::GuardError;
pub use gate::BoundGate;
pub use library::Guards;

use crate::{
    config::{Addresses, RetryPolicy},
    recipe::Recipe,
};

/// Longest candidate id, in bytes.
const MAX_ID_BYTES: usize = 128;

/// A recipe's cascade, bound to addresses.
#[derive(Debug, Clone)]
pub struct Guard {
    recipe: Arc<Recipe>,
    gates: Vec<BoundGate>,
}

impl Guard {
    /// Binds a recipe's gates; opens no connection yet.
    ///
    /// # Errors
    /// A gate whose address is no URL and none of the configured names.
    pub fn new(
        recipe: Arc<Recipe>,
        addresses: &Addresses,
        retry: RetryPolicy,
    ) -> Result<Self, GuardError> {
        let gates = recipe
            .gates
            .iter()
            .map(|gate| BoundGate::new(gate, addresses, retry))
            .collect::<Result<_, _>>()?;
        Ok(Self { recipe, gates })
    }

    /// Makes the gates of one service judge with the model of this name, unless the recipe names one.
    #[must_use]
    pub fn with_model(mut self, service: &str, model: &str) -> Self {
        self.gates
            .iter_mut()
            .for_each(|gate| gate.default_model(service, model));
        self
    }

    /// Asks every gate what it is and whether it takes the recipe's thresholds, without judging anything.
    ///
    /// # Errors
    /// The first gate that is unreachable, or whose thresholds do not fit.
    pub async fn describe(&self) -> Result<Vec<(String, DescribeResponse)>, GuardError> {
        let mut descriptions = Vec::with_capacity(self.gates.len());
        for gate in &self.gates {
            descriptions.push((gate.name().to_owned(), gate.description().await?.clone()));
        }
        Ok(descriptions)
    }

    /// Sends one candidate through the cascade, each gate asked with this priority.
    ///
    /// # Errors
    /// A candidate that misses something, or a gate that gave no usable verdict.
    pub async fn check(
        &self,
        candidate: &Candidate,
        priority: Priority,
    ) -> Result<Decision, GuardError> {
        let item = self.item(candidate)?;
        let mut decision = Decision {
            candidate_id: item.candidate_id.clone(),
            accepted: true,
            ..Decision::default()
        };
        for gate in &self.gates {
            let verdict = gate.evaluate(&item, priority).await?;
            let accepted = verdict.accepted;
            decision.verdicts.push(Verdict {
                gate: gate.name().to_owned(),
                ..verdict
            });
            if !accepted {
                decision.accepted = false;
                gate.name().clone_into(&mut decision.rejected_by);
                break;
            }
        }
        Ok(decision)
    }

    /// What all gates get; each leaves out what it does not need.
    fn item(&self, candidate: &Candidate) -> Result<Item, GuardError> {
        if candidate.candidate_id.len() > MAX_ID_BYTES {
            let why = format!(
                "has {} bytes; at most {MAX_ID_BYTES} are allowed",
                candidate.candidate_id.len()
            );
            return Err(GuardError::invalid("candidate.candidate_id", why));
        }
        let image = candidate
            .candidate
            .as_ref()
            .filter(|image| !image.data.is_empty());
        let image = image.ok_or_else(|| {
            GuardError::invalid("candidate.candidate", "has no data; send the encoded image")
        })?;
        if self.recipe.class_index(&candidate.target_label).is_none() {
            let why = format!(
                "{:?} is no class of recipe {:?}; its classes are {}",
                candidate.target_label,
                self.recipe.name,
                self.recipe.classes.join(", ")
            );
            return Err(GuardError::invalid("candidate.target_label", why));
        }
        let candidate_id = match candidate.candidate_id.as_str() {
            "" => blake3::hash(&image.data).to_hex().to_string(),
            id => id.to_owned(),
        };
        Ok(Item {
            candidate_id,
            candidate: Some(image.clone()),
            source: candidate.source.clone(),
            target_label: candidate.target_label.clone(),
            prompt: self.recipe.prompts.of_label(&candidate.target_label),
            ..Item::default()
        })
    }
}
