//! Kernel distance between two sets of features, as KID defines it (Binkowski et al. 2018, <https://arxiv.org/abs/1801.01401>):
//! the unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3. Unlike the Frechet distance it is right on
//! average for few images, too. With other features than Inception's it must not be called KID.

use rand::{SeedableRng as _, seq::index};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    features::{FeatureError, Features},
    matrix::dot,
};

/// Subsets, and their largest size, of clean-fid and torchmetrics.
const SUBSETS: u32 = 100;
const LARGEST_SUBSET: usize = 1_000;
/// Images of a side that subsets are drawn from; the kernel of all pairs is kept in memory.
const MOST_IMAGES: usize = 4_096;

/// A kernel distance; may be a little below 0 for sets that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    /// Mean over the subsets.
    pub mean: f64,
    /// Standard deviation over the subsets, as torchmetrics gives it. It is no error of the mean: subsets of one set overlap, and where
    /// both sides have the same number of images, 1,000 at most, every subset is all of them and it is 0, however few they are.
    pub deviation: f64,
}

/// Mean over 100 random subsets of min(n1, n2, 1,000) features of each side; of a side with more than 4,096, a random 4,096 stand
/// for it. Deterministic by seed.
///
/// # Errors
/// Features of different length.
pub fn distance(a: &Features, b: &Features, seed: u64) -> Result<Distance, FeatureError> {
    a.same_dimension(b)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let [a, b] = [a, b].map(|side| {
        let rows = side.rows();
        let chosen = index::sample(&mut random, rows.len(), rows.len().min(MOST_IMAGES));
        chosen
            .iter()
            .map(|image| rows[image].clone())
            .collect::<Vec<_>>()
    });
    let size = a.len().min(b.len()).min(LARGEST_SUBSET);
    // Each pair of images is in many subsets.
    let kernels = [kernel(&a, &a), kernel(&b, &b), kernel(&a, &b)];
    let values: Vec<f64> = (0..SUBSETS)
        .map(|_| {
            let [of_a, of_b] =
                [&a, &b].map(|all| index::sample(&mut random, all.len(), size).into_vec());
            discrepancy(&kernels, &of_a, &of_b)
        })
        .collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / values.len() as f64;
    Ok(Distance {
        mean,
        deviation: variance.sqrt(),
    })
}

fn kernel(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let value = |a: &[f64], b: &[f64]| (dot(a, b) / a.len() as f64 + 1.0).powi(3);
    a.iter()
        .map(|a| b.iter().map(|b| value(a, b)).collect())
        .collect()
}

/// Unbiased squared discrepancy of two subsets of one size.
fn discrepancy([aa, bb, ab]: &[Vec<Vec<f64>>; 3], of_a: &[usize], of_b: &[usize]) -> f64 {
    let size = of_a.len() as f64;
    let within = |kernel: &Vec<Vec<f64>>, chosen: &[usize]| -> f64 {
        let row = |&i: &usize| {
            chosen
                .iter()
                .filter(|&&j| j != i)
                .map(|&j| kernel[i][j])
                .sum::<f64>()
        };
        chosen.iter().map(row).sum::<f64>() / (size * (size - 1.0))
    };
    let across: f64 = of_a
        .iter()
        .map(|&i| of_b.iter().map(|&j| ab[i][j]).sum::<f64>())
        .sum();
    within(aa, of_a) + within(bb, of_b) - 2.0 * across / (size * size)
}
