//! LIME for images (Ribeiro et al. 2016): a linear model of the probability near the whole picture, regions shown or hidden.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use crate::{error::Result, least_squares::least_squares, masked::matrix};

/// Masks where none are asked for, as lime.
pub const SAMPLES: usize = 1_000;

/// Width of the exponential kernel.
const WIDTH: f64 = 0.25;

/// Penalty of the ridge regression.
const ALPHA: f64 = 1.0;

/// `samples` masks over `regions`, each region shown with probability one half; the first shows all.
#[must_use]
pub fn masks(regions: usize, samples: usize, seed: u64) -> Vec<Vec<bool>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let drawn = (1..samples).map(|_| (0..regions).map(|_| random.random()).collect());
    std::iter::once(vec![true; regions]).chain(drawn).collect()
}

/// The coefficient of each region: ridge regression of `probabilities` [masks] with an intercept, masks weighted by how near they
/// are to the first.
pub fn coefficients(masks: &[Vec<bool>], probabilities: &Tensor) -> Result<Vec<f64>> {
    let weights: Vec<f64> = masks.iter().map(|mask| weight(mask)).collect();
    let weights = Tensor::f_from_slice(&weights)?;
    let (x, y) = (matrix(masks)?, probabilities.f_to_kind(Kind::Double)?);
    // Taking the weighted means off first leaves the intercept without a penalty.
    let total = weights.f_sum(Kind::Double)?;
    let x_mean = weights.f_unsqueeze(0)?.f_matmul(&x)?.f_div(&total)?;
    let y_mean = weights.f_dot(&y)?.f_div(&total)?;
    let found = least_squares(&x.f_sub(&x_mean)?, &y.f_sub(&y_mean)?, &weights, ALPHA)?;
    Ok(Vec::try_from(&found)?)
}

/// Of a mask whose cosine distance from the full one is d: the root of exp(-d^2 / width^2).
fn weight(mask: &[bool]) -> f64 {
    let shown = mask.iter().filter(|&&shown| shown).count() as f64;
    let distance = 1.0 - (shown / mask.len() as f64).sqrt();
    (-distance.powi(2) / WIDTH.powi(2)).exp().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_start_with_the_whole_and_hold_for_a_seed() {
        let drawn = masks(20, 500, 9);
        assert_eq!((drawn.len(), &drawn[0]), (500, &vec![true; 20]));
        assert_eq!(drawn, masks(20, 500, 9));
        assert_ne!(drawn, masks(20, 500, 10));
        let shown = drawn.concat().into_iter().filter(|&shown| shown).count();
        assert!((4_700..5_500).contains(&shown), "{shown}");
    }

    #[test]
    fn near_masks_weigh_more() {
        assert_eq!(weight(&[true; 4]), 1.0);
        // d = 1: the root of exp(-16).
        assert!((weight(&[false; 4]) - (-8.0f64).exp()).abs() < 1e-12);
    }
}
