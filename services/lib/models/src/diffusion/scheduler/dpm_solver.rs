//! DPM-Solver++ of second order from two steps, known as DPM++ 2M (Lu et al. 2022), as diffusers'
//! `DPMSolverMultistepScheduler` with its `midpoint` solver.

use super::config::{Config, Prediction, Spacing};
use super::schedule::{Schedule, linspace, rounded, trailing};
use super::{Scheduler, combine};
use crate::error::Result;
use tch::Tensor;

pub(super) struct DpmSolver {
    timesteps: Vec<f64>,
    /// Of each time, and 0 after the last.
    sigmas: Vec<f64>,
    prediction: Prediction,
    /// The clean sample that the step before predicted.
    before: Option<Tensor>,
}

impl DpmSolver {
    pub(super) fn new(config: &Config, schedule: Schedule, steps: usize) -> Self {
        let timesteps = times(config, steps);
        let mut sigmas: Vec<f64> = timesteps.iter().map(|&time| schedule.sigma(time)).collect();
        sigmas.push(0.0);
        Self {
            timesteps,
            sigmas,
            prediction: schedule.prediction,
            before: None,
        }
    }

    fn sigma(&self, index: usize) -> f64 {
        self.sigmas.get(index).copied().unwrap_or(0.0)
    }

    /// Half the logarithm of the signal's variance over the noise's.
    fn lambda(&self, index: usize) -> f64 {
        -self.sigma(index).ln()
    }
}

/// Even and leading times are those of one step more, without the last.
fn times(config: &Config, steps: usize) -> Vec<f64> {
    let trained = config.num_train_timesteps;
    let mut times = match config.timestep_spacing.unwrap_or(Spacing::Linspace) {
        Spacing::Linspace => rounded(linspace(trained, steps + 1)),
        Spacing::Leading => config.leading(trained / (steps + 1), steps + 1),
        Spacing::Trailing => return trailing(trained, trained as f64 / steps as f64),
    };
    times.truncate(steps);
    times
}

/// Shares of the clean sample and of the noise in a sample.
fn shares(sigma: f64) -> (f64, f64) {
    let signal = 1.0 / sigma.hypot(1.0);
    (signal, sigma * signal)
}

impl Scheduler for DpmSolver {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn add_noise(&self, clean: &Tensor, noise: &Tensor, index: usize) -> Result<Tensor> {
        let (signal, share) = shares(self.sigma(index));
        combine(signal, clean, share, noise)
    }

    fn step(
        &mut self,
        output: &Tensor,
        index: usize,
        sample: &Tensor,
        _noise: &mut dyn FnMut() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let ((signal, noise), (next_signal, next_noise)) =
            (shares(self.sigma(index)), shares(self.sigma(index + 1)));
        let clean = match self.prediction {
            Prediction::Epsilon => combine(1.0 / signal, sample, -noise / signal, output)?,
            Prediction::VPrediction => combine(signal, sample, -noise, output)?,
        };
        let apart = self.lambda(index + 1) - self.lambda(index);
        // To a sigma of 0 the steps are infinitely far apart, and only the first order has a limit.
        let target = match self.before.replace(clean.shallow_clone()) {
            Some(before) if apart.is_finite() => {
                let ratio = (self.lambda(index) - self.lambda(index.saturating_sub(1))) / apart;
                combine(1.0 + 0.5 / ratio, &clean, -0.5 / ratio, &before)?
            }
            _ => clean,
        };
        let towards = -next_signal * ((-apart).exp() - 1.0);
        combine(next_noise / noise, sample, towards, &target)
    }
}
