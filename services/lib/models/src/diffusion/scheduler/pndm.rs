//! PNDM (Liu et al. 2022) without its Runge-Kutta steps, known as PLMS, as diffusers' `PNDMScheduler` with `skip_prk_steps`.

use super::config::{Config, Prediction, Spacing};
use super::schedule::{Schedule, rounded};
use super::{Scheduler, combine};
use crate::error::{ModelError, Result};
use tch::Tensor;

/// Outputs that a step may be computed from.
const ORDER: usize = 4;

pub(super) struct Pndm {
    schedule: Schedule,
    timesteps: Vec<f64>,
    /// From one time to the next.
    ratio: i64,
    /// The latest outputs, the last one last.
    outputs: Vec<Tensor>,
    /// The first sample, until its second, better step was made.
    first: Option<Tensor>,
    calls: usize,
}

impl Pndm {
    pub(super) fn new(config: &Config, mut schedule: Schedule, steps: usize) -> Result<Self> {
        if !config.skip_prk_steps {
            let why = "must be true: PNDM runs without Runge-Kutta steps; or use another scheduler";
            return Err(ModelError::Config {
                key: "skip_prk_steps",
                why: why.into(),
            });
        }
        if config.set_alpha_to_one.unwrap_or(false) {
            schedule.final_alpha = 1.0;
        }
        let spacing = config.timestep_spacing.unwrap_or(Spacing::Leading);
        let mut timesteps = rounded(config.times(steps, spacing));
        // The second time comes twice: the first step is made again from the mean of two outputs.
        if let Some(&second) = timesteps.get(1) {
            timesteps.insert(1, second);
        }
        Ok(Self {
            schedule,
            timesteps,
            ratio: (config.num_train_timesteps / steps) as i64,
            outputs: Vec::new(),
            first: None,
            calls: 0,
        })
    }

    fn time(&self, index: usize) -> i64 {
        self.timesteps.get(index).copied().unwrap_or(0.0) as i64
    }

    /// From one time to an earlier one: formula (9) of the paper.
    fn transfer(&self, sample: &Tensor, from: i64, to: i64, output: &Tensor) -> Result<Tensor> {
        let (alpha, previous) = (self.schedule.alpha(from), self.schedule.alpha(to));
        let epsilon = match self.schedule.prediction {
            Prediction::Epsilon => output.shallow_clone(),
            Prediction::VPrediction => combine(alpha.sqrt(), output, (1.0 - alpha).sqrt(), sample)?,
        };
        let scale = alpha * (1.0 - previous).sqrt() + (alpha * (1.0 - alpha) * previous).sqrt();
        let towards = -(previous - alpha) / scale;
        combine((previous / alpha).sqrt(), sample, towards, &epsilon)
    }
}

/// The sum of the tensors from the last one back, each times its weight.
fn weighted(outputs: &[Tensor], weights: &[f64]) -> Result<Tensor> {
    let mut pairs = outputs.iter().rev().zip(weights);
    let Some((last, weight)) = pairs.next() else {
        return Err(ModelError::Input("no output to step by".into()));
    };
    pairs.try_fold(last.f_mul_scalar(*weight)?, |sum, (output, weight)| {
        combine(1.0, &sum, *weight, output)
    })
}

impl Scheduler for Pndm {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn add_noise(&self, clean: &Tensor, noise: &Tensor, index: usize) -> Result<Tensor> {
        self.schedule.noisy(clean, noise, self.time(index))
    }

    fn step(
        &mut self,
        output: &Tensor,
        index: usize,
        sample: &Tensor,
        _noise: &mut dyn FnMut() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let time = self.time(index);
        let call = self.calls;
        self.calls += 1;
        if call == 1
            && let (Some(first), Some(before)) = (self.first.take(), self.outputs.last())
        {
            let mean = combine(0.5, output, 0.5, before)?;
            return self.transfer(&first, time + self.ratio, time, &mean);
        }
        if call == 0 {
            self.first = Some(sample.shallow_clone());
        }
        if self.outputs.len() == ORDER {
            drop(self.outputs.remove(0));
        }
        self.outputs.push(output.shallow_clone());
        let weights: &[f64] = match self.outputs.len() {
            1 => &[1.0],
            2 => &[3.0 / 2.0, -1.0 / 2.0],
            3 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
            _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
        };
        let output = weighted(&self.outputs, weights)?;
        self.transfer(sample, time, time - self.ratio, &output)
    }
}
