//! What an attempt is made from: source, text and backend, in turn or as the bandit draws them.

use saga_proto::{
    generator::v1::Backend,
    labelstore::v1::{Slot, SlotSource},
};

use super::tallies::ByArm;
use crate::{
    plan::{Arm, draw},
    recipe::Prompts,
};

/// An attempt with all that is chosen for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Assignment {
    /// The slot; its source is the chosen one.
    pub(super) slot: Slot,
    /// The prompt's text before style and axes.
    pub(super) text: String,
    /// What the generator is asked for.
    pub(super) prompt: String,
    /// Who is asked.
    pub(super) backend: Backend,
}

/// Sources in the slot's order; backends change first, then what the prompts cycle through. `None` without a backend.
pub(super) fn in_turn(slot: Slot, prompts: &Prompts, backends: &[Backend]) -> Option<Assignment> {
    let (index, count) = (index(&slot), backends.len() as u64);
    let backend = backends.get(index.checked_rem(count)? as usize)?.clone();
    let (text, prompt) = prompts.generation(&slot.target_label, index / count);
    Some(Assignment {
        slot,
        text,
        prompt,
        backend,
    })
}

/// The arm that draws the most accepted per dollar, of the slot's source classes, the target's texts and the backends; or
/// the most accepted `whatever_it_costs`. Style and axes go on in turn. `None` without a source or a backend.
pub(super) fn drawn(
    mut slot: Slot,
    prompts: &Prompts,
    backends: &[Backend],
    tallies: &ByArm,
    seed: u64,
    whatever_it_costs: bool,
) -> Option<Assignment> {
    let worth = |source: &SlotSource, text: &str, backend: &Backend| {
        let arm = Arm {
            source: source.label.clone(),
            target: slot.target_label.clone(),
            text: text.to_owned(),
            backend: backend.name.clone(),
        };
        let tally = tallies.get(&arm).copied().unwrap_or_default();
        let rate = draw(&arm, tally, seed);
        if whatever_it_costs {
            rate
        } else {
            rate / tally.mean_cost(backend.cost_usd)
        }
    };
    let texts = prompts.texts(&slot.target_label);
    let mut best: Option<(f64, &SlotSource, &str, &Backend)> = None;
    for source in first_of_each_class(&slot.sources) {
        for text in &texts {
            for backend in backends {
                let worth = worth(source, text, backend);
                if best.is_none_or(|(most, ..)| worth > most) {
                    best = Some((worth, source, text, backend));
                }
            }
        }
    }
    let (_, source, text, backend) = best?;
    let (source, text, backend) = (source.clone(), text.to_owned(), backend.clone());
    let prompt = prompts.variant(&text, index(&slot));
    slot.source_image_id = source.image_id;
    slot.source_label = source.label;
    Some(Assignment {
        slot,
        text,
        prompt,
        backend,
    })
}

/// Place in the cycle of prompts: the next with each slot of the target, and with each attempt at one.
fn index(slot: &Slot) -> u64 {
    u64::from(slot.ordinal) + u64::from(slot.attempt)
}

/// Sources of one class are one arm; the first in order of preference stands for them.
fn first_of_each_class(sources: &[SlotSource]) -> Vec<&SlotSource> {
    let mut firsts: Vec<&SlotSource> = Vec::new();
    for source in sources {
        if firsts.iter().all(|first| first.label != source.label) {
            firsts.push(source);
        }
    }
    firsts
}

#[cfg(test)]
mod tests;
