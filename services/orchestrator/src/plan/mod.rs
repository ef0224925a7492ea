//! What to generate: how many candidates each class needs, and which real images they start from.
//!
//! Pure functions of the training split, the baseline's mistakes on the validation split, the recipe and the seed, so that a
//! plan that was cut short is made again, slot for slot.

mod bandit;
mod need;
mod sources;

use serde::{Deserialize, Serialize};

pub use bandit::{Arm, Tally, draw};
pub use need::{ClassNeed, needs};
pub use sources::{Sources, weights};

use crate::{metrics::Confusion, recipe::PlanPolicy};

/// Slots that a run in test mode plans at most.
pub const TEST_MODE_SLOTS: u32 = 20;

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// Class names in label order.
    pub classes: &'a [String],
    /// Ids of the real train images of each class.
    pub train: &'a [Vec<String>],
    /// The baseline on the validation split.
    pub validation: &'a Confusion,
    /// The recipe's policy.
    pub policy: &'a PlanPolicy,
    /// The run's seed.
    pub seed: u64,
    /// Slots in all, at most; `None`: as many as are needed.
    pub limit: Option<u32>,
}

/// The plan of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// One row a class, in label order.
    pub classes: Vec<PlannedClass>,
    /// Slots by target and ordinal.
    pub slots: Vec<PlannedSlot>,
    /// Weight of each source class (column) for each target (row); rows sum to 1, or to 0 for a target without sources.
    pub weights: Vec<Vec<f64>>,
}

/// A row of the plan's table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedClass {
    /// The class.
    pub label: String,
    /// Real train images.
    pub real: u32,
    /// What the class may hold, real and synthetic.
    pub cap: u32,
    /// Candidates to admit.
    pub planned: u32,
    /// Recall of the baseline on the validation split; `None` where that has no image of the class.
    pub recall: Option<f64>,
}

/// One candidate to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSlot {
    /// Index of the target class.
    pub target: usize,
    /// From 0 within the target.
    pub ordinal: u32,
    /// Ids of the train images to edit, in order of preference; never of the target's class.
    pub sources: Vec<String>,
}

/// Makes the plan.
pub fn make(input: &PlanInput<'_>) -> Plan {
    let real: Vec<u32> = input.train.iter().map(|ids| ids.len() as u32).collect();
    let recall = input.validation.recall();
    let weights = weights(&real, input.validation, input.policy.allocation);
    let needs = needs(&real, input.policy);
    let wanted: Vec<u32> = needs
        .iter()
        .zip(&weights)
        .map(|(need, row)| {
            if row.iter().any(|weight| *weight > 0.0) {
                need.need()
            } else {
                0
            }
        })
        .collect();
    let planned = limited(&wanted, &recall, input.limit);
    let slots = (0..real.len())
        .flat_map(|target| slots(input, &weights, target, planned[target]))
        .collect();
    let classes = (0..real.len())
        .map(|index| PlannedClass {
            label: input.classes[index].clone(),
            real: real[index],
            cap: needs[index].cap,
            planned: planned[index],
            recall: recall[index],
        })
        .collect();
    Plan {
        classes,
        slots,
        weights,
    }
}

fn slots(
    input: &PlanInput<'_>,
    weights: &[Vec<f64>],
    target: usize,
    planned: u32,
) -> Vec<PlannedSlot> {
    let mut sources = Sources::new(
        input.train,
        &weights[target],
        target,
        input.seed,
        input.policy.allocation,
    );
    (0..planned)
        .map(|ordinal| PlannedSlot {
            target,
            ordinal,
            sources: sources.take(input.policy.sources_per_slot as usize),
        })
        .collect()
}

/// Cuts the need down to a limit, one slot a class in turn, the worst recognised class first.
fn limited(wanted: &[u32], recall: &[Option<f64>], limit: Option<u32>) -> Vec<u32> {
    let total: u32 = wanted.iter().sum();
    let Some(mut left) = limit.filter(|limit| *limit < total) else {
        return wanted.to_vec();
    };
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| {
        recall[*a]
            .unwrap_or(0.0)
            .total_cmp(&recall[*b].unwrap_or(0.0))
            .then(a.cmp(b))
    });
    let mut planned = vec![0; wanted.len()];
    while left > 0 {
        for &class in &order {
            if left > 0 && planned[class] < wanted[class] {
                planned[class] += 1;
                left -= 1;
            }
        }
    }
    planned
}

impl Plan {
    /// The plan as lines of text, one class a line.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<16} {:>8} {:>8} {:>8} {:>8}\n",
            "class", "real", "cap", "planned", "recall"
        );
        for row in &self.classes {
            let recall = row
                .recall
                .map_or("-".to_owned(), |recall| format!("{:.1} %", 100.0 * recall));
            text += &format!(
                "{:<16} {:>8} {:>8} {:>8} {:>8}\n",
                row.label, row.real, row.cap, row.planned, recall
            );
        }
        text
    }
}

#[cfg(test)]
mod tests;
