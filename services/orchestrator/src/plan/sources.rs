//! Which real images a target's candidates start from.

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use crate::{metrics::Confusion, recipe::Allocation};

/// Weight of a source class that is never confused with the target, beside confusion rates of 0 to 2.
const FLOOR: f64 = 0.05;

/// Weight of each source class (column) for each target (row).
///
/// With [`Allocation::Confusion`] a source counts by how often the baseline takes one of the two classes for the other; edits
/// between such classes lie at the boundary that the model draws wrongly. Rows sum to 1; a class without images and the
/// target itself weigh 0.
pub fn weights(real: &[u32], validation: &Confusion, allocation: Allocation) -> Vec<Vec<f64>> {
    let classes = real.len();
    (0..classes)
        .map(|target| {
            let weight = |source: usize| match allocation {
                _ if source == target || real[source] == 0 => 0.0,
                // A bandit chooses among equals.
                Allocation::Balance | Allocation::Bandit => 1.0,
                Allocation::Confusion => {
                    FLOOR + validation.rate(source, target) + validation.rate(target, source)
                }
            };
            normalised((0..classes).map(weight).collect())
        })
        .collect()
}

fn normalised(row: Vec<f64>) -> Vec<f64> {
    let sum: f64 = row.iter().sum();
    if sum > 0.0 {
        row.iter().map(|weight| weight / sum).collect()
    } else {
        row
    }
}

/// An endless, deterministic walk over the source images of one target.
///
/// Source classes take turns in proportion to their weights (smooth weighted round robin); within a class the seed decides
/// the order. No image comes again before every other one had its turn, so a scarce class lends its few images once a round.
/// For a bandit a round is one of a class's own images: to be on offer uses none of them up.
#[derive(Debug)]
pub struct Sources<'a> {
    classes: Vec<SourceClass<'a>>,
    total: usize,
    class_by_class: bool,
}

#[derive(Debug)]
struct SourceClass<'a> {
    ids: Vec<&'a str>,
    next: usize,
    weight: f64,
    credit: f64,
}

impl SourceClass<'_> {
    /// Whether an image has not had its turn.
    fn is_open(&self) -> bool {
        self.next < self.ids.len()
    }
}

impl<'a> Sources<'a> {
    /// The walk for `target`; classes of weight 0 are left out.
    pub fn new(
        train: &'a [Vec<String>],
        weights: &[f64],
        target: usize,
        seed: u64,
        allocation: Allocation,
    ) -> Self {
        let classes: Vec<SourceClass<'a>> = train
            .iter()
            .zip(weights)
            .enumerate()
            .filter(|(class, (ids, weight))| *class != target && !ids.is_empty() && **weight > 0.0)
            .map(|(_, (ids, weight))| SourceClass {
                ids: shuffled(ids, target, seed),
                next: 0,
                weight: *weight,
                credit: 0.0,
            })
            .collect();
        let total = classes.iter().map(|class| class.ids.len()).sum();
        Self {
            classes,
            total,
            class_by_class: allocation == Allocation::Bandit,
        }
    }

    /// The next `count` images, all different; fewer where there are not so many.
    pub fn take(&mut self, count: usize) -> Vec<String> {
        let mut taken: Vec<String> = Vec::new();
        while taken.len() < count.min(self.total) {
            match self.next() {
                Some(id) if taken.iter().all(|other| other != id) => taken.push(id.to_owned()),
                Some(_) => {}
                None => break,
            }
        }
        taken
    }

    fn next(&mut self) -> Option<&'a str> {
        let all_done = !self.classes.iter().any(SourceClass::is_open);
        let again =
            |class: &&mut SourceClass<'_>| all_done || (self.class_by_class && !class.is_open());
        self.classes
            .iter_mut()
            .filter(again)
            .for_each(|class| class.next = 0);
        let open = |class: &&mut SourceClass<'_>| class.is_open();
        let round: f64 = self
            .classes
            .iter_mut()
            .filter(open)
            .map(|class| class.weight)
            .sum();
        self.classes
            .iter_mut()
            .filter(open)
            .for_each(|class| class.credit += class.weight);
        let chosen = self.classes.iter_mut().filter(open).reduce(|best, class| {
            if class.credit > best.credit {
                class
            } else {
                best
            }
        })?;
        chosen.credit -= round;
        chosen.next += 1;
        chosen.ids.get(chosen.next - 1).copied()
    }
}

/// A permutation that depends on the seed and the target alone: the images of a data set have other ids in another folder.
fn shuffled(ids: &[String], target: usize, seed: u64) -> Vec<&str> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(target as u64);
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.shuffle(&mut random);
    ids
}
