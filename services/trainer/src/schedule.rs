//! AdamW (Loshchilov and Hutter 2019, <https://arxiv.org/abs/1711.05101>) on the flat weights, with a learning rate that
//! rises linearly and then falls as half a cosine.

use tch::{Kind, Tensor};

use crate::error::TrainError;

const BETAS: (f64, f64) = (0.9, 0.98);
const EPSILON: f64 = 1e-8;

/// Share of the peak learning rate at `step` (from 0) of `steps`: linear over the first `warmup` share, then half a
/// cosine down to 0 after the last step.
pub fn learning_rate_share(step: u32, steps: u32, warmup: f64) -> f64 {
    let rising = (f64::from(steps) * warmup).round();
    let step = f64::from(step);
    if step < rising {
        return (step + 1.0) / rising;
    }
    let progress = (step - rising) / (f64::from(steps) - rising).max(1.0);
    0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
}

/// The optimiser's state: first and second moments, `[P]` each.
#[derive(Debug)]
pub struct AdamW {
    mean: Tensor,
    square: Tensor,
    decay_mask: Tensor,
    weight_decay: f64,
    steps: i32,
}

impl AdamW {
    /// Zero moments for weights with this decay mask.
    pub fn new(decay_mask: Tensor, weight_decay: f64) -> Result<Self, TrainError> {
        let (mean, square) = (decay_mask.f_zeros_like()?, decay_mask.f_zeros_like()?);
        Ok(Self {
            mean,
            square,
            decay_mask,
            weight_decay,
            steps: 0,
        })
    }

    /// Moments as they were after `steps` steps.
    pub fn restore(
        &mut self,
        steps: u32,
        mean: &Tensor,
        square: &Tensor,
    ) -> Result<(), TrainError> {
        self.steps = steps as i32;
        tch::no_grad(|| {
            self.mean.f_copy_(mean)?;
            Ok(self.square.f_copy_(square)?)
        })
    }

    /// First and second moments.
    pub fn moments(&self) -> (&Tensor, &Tensor) {
        (&self.mean, &self.square)
    }

    /// One update of `weights` in place; `multipliers` `[P]` make the learning rate of each another.
    pub fn step(
        &mut self,
        weights: &mut Tensor,
        gradient: &Tensor,
        learning_rate: f64,
        multipliers: Option<&Tensor>,
    ) -> Result<(), TrainError> {
        let multiplied = |tensor: Tensor| match multipliers {
            Some(multipliers) => tensor.f_mul(multipliers),
            None => Ok(tensor),
        };
        self.steps += 1;
        let corrections = (
            1.0 - BETAS.0.powi(self.steps),
            1.0 - BETAS.1.powi(self.steps),
        );
        tch::no_grad(|| {
            let _ = self.mean.f_lerp_(gradient, 1.0 - BETAS.0)?;
            let _ = self.square.f_lerp_(&gradient.f_square()?, 1.0 - BETAS.1)?;
            let spread = self
                .square
                .f_div_scalar(corrections.1)?
                .f_sqrt()?
                .f_add_scalar(EPSILON)?;
            let decay = self
                .decay_mask
                .f_mul_scalar(-learning_rate * self.weight_decay)?;
            let _ = weights.f_mul_(&multiplied(decay)?.f_add_scalar(1.0)?)?;
            let update = self
                .mean
                .f_div(&spread)?
                .f_mul_scalar(learning_rate / corrections.0)?;
            let _ = weights.f_sub_(&multiplied(update)?)?;
            Ok(())
        })
    }
}

/// L2 norm.
pub fn norm(flat: &Tensor) -> Result<f64, TrainError> {
    let sum = flat.f_square()?.f_sum(Kind::Double)?;
    Ok(sum.f_sqrt()?.f_double_value(&[])?)
}

/// Scales the gradient so that its L2 norm is at most `limit` (0: no limit); answers the norm before.
pub fn clip(gradient: &mut Tensor, limit: f64) -> Result<f64, TrainError> {
    let norm = norm(gradient)?;
    if limit > 0.0 && norm > limit {
        let _ = gradient.f_mul_scalar_(limit / norm)?;
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_to_nothing() {
        let shares: Vec<f64> = (0..100)
            .map(|step| learning_rate_share(step, 100, 0.1))
            .collect();
        assert!((shares[0] - 0.1).abs() < 1e-12);
        assert!((shares[9] - 1.0).abs() < 1e-12);
        assert!((shares[10] - 1.0).abs() < 1e-12);
        assert!((shares[55] - 0.5).abs() < 1e-12);
        assert!(shares[99] > 0.0 && shares[99] < 0.001);
        assert!(shares[10..].windows(2).all(|pair| pair[1] <= pair[0]));
    }

    #[test]
    fn starts_at_the_peak_without_warm_up_and_survives_warm_up_alone() {
        assert_eq!(learning_rate_share(0, 10, 0.0), 1.0);
        assert!((learning_rate_share(9, 10, 1.0) - 1.0).abs() < 1e-12);
        assert_eq!(learning_rate_share(0, 1, 0.0), 1.0);
    }

    /// torch.optim.AdamW([1.0, -2.0], lr=0.1, betas=(0.9, 0.98), weight_decay=0.01), gradients [0.5, -1.0], [0.1, 3.0].
    #[test]
    fn agrees_with_torch() {
        let mut weights = Tensor::from_slice(&[1.0f32, -2.0]);
        let mut optimiser = AdamW::new(weights.ones_like(), 0.01).unwrap();
        optimiser
            .step(
                &mut weights,
                &Tensor::from_slice(&[0.5f32, -1.0]),
                0.1,
                None,
            )
            .unwrap();
        optimiser
            .step(&mut weights, &Tensor::from_slice(&[0.1f32, 3.0]), 0.1, None)
            .unwrap();
        let by_hand = |weight: f64, gradients: [f64; 2]| {
            let (mut w, mut m, mut v) = (weight, 0.0, 0.0);
            for (t, g) in (1..).zip(gradients) {
                w -= 0.1 * 0.01 * w;
                m = 0.9 * m + 0.1 * g;
                v = 0.98 * v + 0.02 * g * g;
                w -= 0.1 * (m / (1.0 - 0.9f64.powi(t)))
                    / ((v / (1.0 - 0.98f64.powi(t))).sqrt() + 1e-8);
            }
            w
        };
        let expected = [by_hand(1.0, [0.5, 0.1]), by_hand(-2.0, [-1.0, 3.0])];
        for (index, expected) in expected.into_iter().enumerate() {
            assert!((weights.double_value(&[index as i64]) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn matrices_alone_decay() {
        let mut weights = Tensor::from_slice(&[1.0f32, 1.0]);
        let mut optimiser = AdamW::new(Tensor::from_slice(&[1.0f32, 0.0]), 0.5).unwrap();
        optimiser
            .step(&mut weights, &Tensor::from_slice(&[0.0f32, 0.0]), 0.1, None)
            .unwrap();
        assert!((weights.double_value(&[0]) - 0.95).abs() < 1e-6);
        assert_eq!(weights.double_value(&[1]), 1.0);
    }

    #[test]
    fn multipliers_are_learning_rates_of_their_own() {
        let gradient = Tensor::from_slice(&[0.5f32, 0.5, 0.5]);
        let mut weights = Tensor::from_slice(&[1.0f32, 1.0, 1.0]);
        let mut optimiser = AdamW::new(weights.ones_like(), 0.5).unwrap();
        let multipliers = Tensor::from_slice(&[1.0f32, 0.25, 0.0]);
        optimiser
            .step(&mut weights, &gradient, 0.1, Some(&multipliers))
            .unwrap();
        let alone = |learning_rate: f64| {
            let mut weights = Tensor::from_slice(&[1.0f32, 1.0, 1.0]);
            let mut optimiser = AdamW::new(weights.ones_like(), 0.5).unwrap();
            optimiser
                .step(&mut weights, &gradient, learning_rate, None)
                .unwrap();
            weights.double_value(&[0])
        };
        for (index, learning_rate) in [0.1, 0.025, 0.0].into_iter().enumerate() {
            let difference = weights.double_value(&[index as i64]) - alone(learning_rate);
            assert!(difference.abs() < 1e-6, "{index}");
        }
    }

    #[test]
    fn clips_to_the_limit_only_when_above() {
        let mut gradient = Tensor::from_slice(&[3.0f32, 4.0]);
        assert!((clip(&mut gradient, 0.0).unwrap() - 5.0).abs() < 1e-6);
        assert!((clip(&mut gradient, 10.0).unwrap() - 5.0).abs() < 1e-6);
        assert!((clip(&mut gradient, 1.0).unwrap() - 5.0).abs() < 1e-6);
        assert!((clip(&mut gradient, 0.0).unwrap() - 1.0).abs() < 1e-6);
    }
}
