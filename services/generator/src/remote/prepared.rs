//! A request that has been checked, and what its answer costs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::backend::{Outcome, Without};

/// A request that has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    pub model: String,
    pub price: AnswerPrice,
    /// Whether it is sent together with others.
    pub batch: bool,
    /// Every setting in force, the model among them.
    pub parameters: BTreeMap<String, String>,
}

/// US dollars of an answer with what was asked for, an image or words, and without.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerPrice {
    pub image_usd: f64,
    pub no_image_usd: f64,
}

impl AnswerPrice {
    /// US dollars of an answer; an image that does not decode is made and paid for like a good one.
    pub fn cost_of(&self, outcome: &Outcome) -> f64 {
        match outcome {
            Outcome::Image(_) | Outcome::Text(_) | Outcome::Without(Without::Undecodable, _) => {
                self.image_usd
            }
            Outcome::Without(..) => self.no_image_usd,
        }
    }

    /// US dollars of any answer, at most.
    pub fn most_usd(&self) -> f64 {
        self.image_usd.max(self.no_image_usd)
    }
}
