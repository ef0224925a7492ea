//! Euler's method with noise added anew at each step (Karras et al. 2022, after k-diffusion), as diffusers'
//! `EulerAncestralDiscreteScheduler`.

use super::config::{Config, Prediction, Spacing};
use super::schedule::Schedule;
use super::{Scheduler, combine};
use crate::error::Result;
use tch::Tensor;

pub(super) struct EulerAncestral {
    timesteps: Vec<f64>,
    /// Of each time, and 0 after the last.
    sigmas: Vec<f64>,
    prediction: Prediction,
    init_noise_sigma: f64,
}

impl EulerAncestral {
    pub(super) fn new(config: &Config, schedule: Schedule, steps: usize) -> Self {
        let spacing = config.timestep_spacing.unwrap_or(Spacing::Linspace);
        let timesteps = config.times(steps, spacing);
        let mut sigmas: Vec<f64> = timesteps.iter().map(|&time| schedule.sigma(time)).collect();
        let largest = sigmas.iter().copied().fold(0.0, f64::max);
        sigmas.push(0.0);
        Self {
            timesteps,
            sigmas,
            prediction: schedule.prediction,
            init_noise_sigma: match spacing {
                Spacing::Leading => largest.hypot(1.0),
                Spacing::Linspace | Spacing::Trailing => largest,
            },
        }
    }

    fn sigma(&self, index: usize) -> f64 {
        self.sigmas.get(index).copied().unwrap_or(0.0)
    }
}

impl Scheduler for EulerAncestral {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    fn scale_model_input(&self, sample: &Tensor, index: usize) -> Result<Tensor> {
        Ok(sample.f_mul_scalar(1.0 / self.sigma(index).hypot(1.0))?)
    }

    fn add_noise(&self, clean: &Tensor, noise: &Tensor, index: usize) -> Result<Tensor> {
        combine(1.0, clean, self.sigma(index), noise)
    }

    fn step(
        &mut self,
        output: &Tensor,
        index: usize,
        sample: &Tensor,
        noise: &mut dyn FnMut() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (from, to) = (self.sigma(index), self.sigma(index + 1));
        // The derivative of the sample by sigma.
        let derivative = match self.prediction {
            Prediction::Epsilon => output.shallow_clone(),
            Prediction::VPrediction => {
                let scale = from.hypot(1.0);
                combine(1.0 / scale, output, from / scale.powi(2), sample)?
            }
        };
        let up = (to.powi(2) * (from.powi(2) - to.powi(2)) / from.powi(2)).sqrt();
        let down = (to.powi(2) - up.powi(2)).max(0.0).sqrt();
        let stepped = combine(1.0, sample, down - from, &derivative)?;
        combine(1.0, &stepped, up, &noise()?)
    }
}
