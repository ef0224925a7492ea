//! DDIM (Song et al. 2021), the deterministic one, as diffusers' `DDIMScheduler` with eta 0.

use super::config::{Config, Prediction, Spacing};
use super::schedule::{Schedule, rounded};
use super::{Scheduler, combine};
use crate::error::Result;
use tch::Tensor;

pub(super) struct Ddim {
    schedule: Schedule,
    timesteps: Vec<f64>,
    /// From one time to the next.
    ratio: i64,
    /// Clean samples are kept within plus and minus this.
    clip: Option<f64>,
}

impl Ddim {
    pub(super) fn new(config: &Config, mut schedule: Schedule, steps: usize) -> Self {
        if config.set_alpha_to_one.unwrap_or(true) {
            schedule.final_alpha = 1.0;
        }
        let spacing = config.timestep_spacing.unwrap_or(Spacing::Leading);
        let clips = config.clip_sample.unwrap_or(true);
        Self {
            schedule,
            timesteps: rounded(config.times(steps, spacing)),
            ratio: (config.num_train_timesteps / steps) as i64,
            clip: clips.then_some(config.clip_sample_range),
        }
    }

    fn time(&self, index: usize) -> i64 {
        self.timesteps.get(index).copied().unwrap_or(0.0) as i64
    }
}

impl Scheduler for Ddim {
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
        let alpha = self.schedule.alpha(time);
        let previous = self.schedule.alpha(time - self.ratio);
        let (signal, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let (mut clean, epsilon) = match self.schedule.prediction {
            Prediction::Epsilon => (
                combine(1.0 / signal, sample, -noise / signal, output)?,
                output.shallow_clone(),
            ),
            Prediction::VPrediction => (
                combine(signal, sample, -noise, output)?,
                combine(signal, output, noise, sample)?,
            ),
        };
        if let Some(clip) = self.clip {
            clean = clean.f_clamp(-clip, clip)?;
        }
        combine(previous.sqrt(), &clean, (1.0 - previous).sqrt(), &epsilon)
    }
}
