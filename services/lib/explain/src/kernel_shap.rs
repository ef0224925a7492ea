//! KernelSHAP (Lundberg and Lee 2017) as shap's `KernelExplainer` without regularisation: Shapley values of regions by weighted
//! least squares over coalitions, which are enumerated as far as the samples reach and drawn beyond.

use std::collections::HashMap;

use rand::{
    SeedableRng as _,
    distr::{Distribution as _, weighted::WeightedIndex},
    seq::index,
};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use crate::{error::Result, least_squares::least_squares, masked::matrix};

/// Coalitions where none are asked for, as shap: 2 M + 2,048.
#[must_use]
pub fn default_samples(regions: usize) -> usize {
    2 * regions + 2_048
}

/// Which regions are shown together, and what each such picture counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Coalitions {
    pub masks: Vec<Vec<bool>>,
    pub weights: Vec<f64>,
}

impl Coalitions {
    /// `samples` of the 2^M - 2 coalitions of `regions` = M, or all of them where they are fewer. Sizes near 0 and M, which weigh
    /// most, come first and in full; a coalition drawn again counts more.
    #[must_use]
    pub fn draw(regions: usize, samples: usize, seed: u64) -> Self {
        let mut drawn = Self::default();
        let sizes = Sizes::of(regions);
        let samples = match u32::try_from(regions) {
            Ok(exponent @ ..=30) => samples.min((1usize << exponent).saturating_sub(2)),
            _ => samples,
        };
        let full = drawn.enumerate(&sizes, samples);
        drawn.fill_up(&sizes, full, samples, seed);
        drawn
    }

    fn add(&mut self, mask: Vec<bool>, weight: f64) {
        self.masks.push(mask);
        self.weights.push(weight);
    }

    /// Adds the sizes whose coalitions would on average all be drawn; tells how many sizes those are.
    fn enumerate(&mut self, sizes: &Sizes, samples: usize) -> usize {
        let (mut left, mut rest) = (samples as f64, 1.0);
        for (index, &weight) in sizes.weights.iter().enumerate() {
            let size = index + 1;
            let paired = size <= sizes.paired;
            let subsets = binomial(sizes.regions, size);
            let coalitions = if paired { 2.0 * subsets } else { subsets };
            if left * (weight / rest) / coalitions < 1.0 - 1e-8 {
                return index;
            }
            (left, rest) = (left - coalitions, rest - weight);
            for subset in subsets_of(sizes.regions, size) {
                let others = paired.then(|| complement(&subset));
                for mask in [Some(subset), others].into_iter().flatten() {
                    self.add(mask, weight / coalitions);
                }
            }
        }
        sizes.weights.len()
    }

    /// Draws coalitions of the sizes after the first `full`, with their complements, until there are `samples`; together they count
    /// what those sizes do.
    fn fill_up(&mut self, sizes: &Sizes, full: usize, samples: usize, seed: u64) {
        let fixed = self.masks.len();
        let single = |(index, &weight): (usize, &f64)| match index < sizes.paired {
            true => weight / 2.0,
            false => weight,
        };
        let rest = sizes.weights.iter().enumerate().map(single).skip(full);
        let Ok(size) = WeightedIndex::new(rest) else {
            return;
        };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut known = HashMap::new();
        // As shap: a bound on how often the same ones may come again.
        for _ in 0..4 * samples.saturating_sub(fixed) {
            if self.masks.len() >= samples {
                break;
            }
            let size = full + 1 + size.sample(&mut random);
            let mut mask = vec![false; sizes.regions];
            for shown in index::sample(&mut random, sizes.regions, size) {
                if let Some(shown) = mask.get_mut(shown) {
                    *shown = true;
                }
            }
            let others = (size <= sizes.paired).then(|| complement(&mask));
            for mask in [Some(mask), others].into_iter().flatten() {
                let place = *known.entry(mask.clone()).or_insert(self.masks.len());
                match self.weights.get_mut(place) {
                    Some(weight) => *weight += 1.0,
                    None if self.masks.len() < samples => self.add(mask, 1.0),
                    None => {
                        known.remove(&mask);
                    }
                }
            }
        }
        let left: f64 = sizes.weights.iter().skip(full).sum();
        let drawn: f64 = self.weights.iter().skip(fixed).sum();
        for weight in self.weights.iter_mut().skip(fixed) {
            *weight *= left / drawn;
        }
    }

    /// The Shapley value of each region: what it adds, on average over coalitions, on the way from the probability `none` with all
    /// hidden to `all` with all shown. `probabilities` are those of the masks.
    pub fn values(&self, probabilities: &Tensor, none: f64, all: f64) -> Result<Vec<f64>> {
        let masks = matrix(&self.masks)?;
        let (rest, last) = (masks.size2()?.1 - 1, masks.f_select(1, -1)?);
        // The values sum to what there is to share, which leaves the last one no choice.
        let x = masks.f_narrow(1, 0, rest)?.f_sub(&last.f_unsqueeze(1)?)?;
        let y = probabilities
            .f_to_kind(Kind::Double)?
            .f_sub_scalar(none)?
            .f_sub(&last.f_mul_scalar(all - none)?)?;
        let weights = Tensor::f_from_slice(&self.weights)?;
        let mut values = Vec::try_from(&least_squares(&x, &y, &weights, 0.0)?)?;
        values.push(all - none - values.iter().sum::<f64>());
        Ok(values)
    }
}

/// Coalitions by size, each size with that of the complements.
struct Sizes {
    regions: usize,
    /// Of sizes 1, 2, ...: their share of the Shapley kernel. Sums to one.
    weights: Vec<f64>,
    /// Sizes up to this one have complements of another size.
    paired: usize,
}

impl Sizes {
    fn of(regions: usize) -> Self {
        let paired = regions.saturating_sub(1) / 2;
        let kernel = |size: usize| {
            let weight = (regions - 1) as f64 / (size * (regions - size)) as f64;
            if size <= paired { 2.0 * weight } else { weight }
        };
        let mut weights: Vec<f64> = (1..=regions / 2).map(kernel).collect();
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= total);
        Self {
            regions,
            weights,
            paired,
        }
    }
}

fn complement(mask: &[bool]) -> Vec<bool> {
    mask.iter().map(|shown| !shown).collect()
}

/// n over k; infinite where f64 ends.
fn binomial(n: usize, k: usize) -> f64 {
    let factors = (0..k).map(|i| (n - i) as f64 / (i + 1) as f64);
    factors.product::<f64>().round()
}

/// Every mask of `regions` that shows `size` of them.
fn subsets_of(regions: usize, size: usize) -> impl Iterator<Item = Vec<bool>> {
    let mut next = Some((0..size).collect::<Vec<usize>>());
    std::iter::from_fn(move || {
        let chosen = next.take()?;
        let mask = (0..regions)
            .map(|region| chosen.contains(&region))
            .collect();
        next = successor(chosen, regions);
        Some(mask)
    })
}

/// The next choice in lexicographic order.
fn successor(mut chosen: Vec<usize>, regions: usize) -> Option<Vec<usize>> {
    let size = chosen.len();
    let movable = |(place, &region): (usize, &usize)| region < regions - size + place;
    let place = chosen.iter().enumerate().rposition(movable)?;
    let start = chosen.get(place)? + 1;
    for (region, value) in chosen.iter_mut().skip(place).zip(start..) {
        *region = value;
    }
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn few_regions_are_enumerated_with_the_shapley_kernel() {
        let drawn = Coalitions::draw(5, 2_058, 1);
        assert_eq!(drawn.masks.len(), 30);
        assert_eq!(drawn.masks.iter().collect::<HashSet<_>>().len(), 30);
        let scale = drawn.weights[0] / (4.0 / (5.0 * 4.0));
        for (mask, weight) in drawn.masks.iter().zip(&drawn.weights) {
            let size = mask.iter().filter(|&&shown| shown).count();
            let kernel = 4.0 / (binomial(5, size) * (size * (5 - size)) as f64);
            assert!((weight - scale * kernel).abs() < 1e-12, "{mask:?}");
        }
    }

    #[test]
    fn many_regions_are_drawn_within_the_samples() {
        let drawn = Coalitions::draw(40, 400, 1);
        assert_eq!(drawn.masks.len(), 400);
        assert_eq!(drawn.masks.iter().collect::<HashSet<_>>().len(), 400);
        assert!((drawn.weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        // Sizes 1 and 39 in full.
        let size =
            |mask: &&Vec<bool>| matches!(mask.iter().filter(|&&shown| shown).count(), 1 | 39);
        assert_eq!(drawn.masks.iter().filter(size).count(), 80);
        assert_eq!(drawn, Coalitions::draw(40, 400, 1));
    }

    #[test]
    fn values_of_a_sum_are_its_terms() {
        let terms = [0.3, -0.1, 0.05, 0.2, 0.0, 0.4];
        let drawn = Coalitions::draw(6, 40, 3);
        let sum = |mask: &Vec<bool>| {
            let shown = terms.iter().zip(mask).filter(|(_, shown)| **shown);
            0.1 + shown.map(|(term, _)| term).sum::<f64>()
        };
        let sums: Vec<f64> = drawn.masks.iter().map(sum).collect();
        let values = drawn.values(&Tensor::from_slice(&sums), 0.1, 0.95).unwrap();
        for (value, term) in values.iter().zip(terms) {
            assert!((value - term).abs() < 1e-9, "{values:?}");
        }
    }
}
