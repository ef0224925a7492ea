//! How noisy samples are at each time of training, and the times that a run visits.

use super::combine;
use super::config::{BetaSchedule, Config, Prediction, Spacing};
use crate::error::Result;
use tch::{Device, Kind, Tensor};

/// The noise of training.
pub(super) struct Schedule {
    alphas_cumprod: Vec<f64>,
    /// The same before the first time.
    pub(super) final_alpha: f64,
    pub(super) prediction: Prediction,
}

impl Schedule {
    /// In f32, as diffusers keeps it.
    pub(super) fn new(config: &Config) -> Result<Self> {
        let alphas = betas(config)?.f_neg()?.f_add_scalar(1.0)?;
        let alphas_cumprod = Vec::<f32>::try_from(alphas.f_cumprod(0, Kind::Float)?)?;
        let alphas_cumprod: Vec<f64> = alphas_cumprod.into_iter().map(f64::from).collect();
        Ok(Self {
            final_alpha: alphas_cumprod.first().copied().unwrap_or(1.0),
            alphas_cumprod,
            prediction: config.prediction_type,
        })
    }

    /// What is left of the clean sample's variance after each time.
    pub(super) fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// At a time of training; the final one before the first, that of the last after it.
    pub(super) fn alpha(&self, time: i64) -> f64 {
        let Ok(index) = usize::try_from(time) else {
            return self.final_alpha;
        };
        let alphas = &self.alphas_cumprod;
        let found = alphas.get(index).or(alphas.last());
        found.copied().unwrap_or(self.final_alpha)
    }

    /// Deviation of the noise over that of the clean sample; linear between times of training.
    pub(super) fn sigma(&self, time: f64) -> f64 {
        let sigma = |time: f64| {
            let alpha = self.alpha(time as i64);
            ((1.0 - alpha) / alpha).sqrt()
        };
        let (below, above) = (sigma(time.floor()), sigma(time.ceil()));
        below + (above - below) * time.fract()
    }

    /// `clean` as noisy as samples are at a time of training.
    pub(super) fn noisy(&self, clean: &Tensor, noise: &Tensor, time: i64) -> Result<Tensor> {
        let alpha = self.alpha(time);
        combine(alpha.sqrt(), clean, (1.0 - alpha).sqrt(), noise)
    }
}

/// The variance of the noise that each time adds.
fn betas(config: &Config) -> Result<Tensor> {
    let float = (Kind::Float, Device::Cpu);
    let (start, end) = (config.beta_start, config.beta_end);
    let times = config.num_train_timesteps;
    Ok(match config.beta_schedule {
        BetaSchedule::Linear => Tensor::f_linspace(start, end, times as i64, float)?,
        BetaSchedule::ScaledLinear => {
            Tensor::f_linspace(start.sqrt(), end.sqrt(), times as i64, float)?.f_square()?
        }
        BetaSchedule::SquaredCosine => Tensor::f_from_slice(&cosine_betas(times))?,
    })
}

/// The cosine schedule (Nichol and Dhariwal 2021).
fn cosine_betas(times: usize) -> Vec<f32> {
    const LARGEST: f64 = 0.999;
    let left = |index: usize| {
        let time = index as f64 / times as f64;
        let angle = (time + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2;
        angle.cos().powi(2)
    };
    (0..times)
        .map(|index| (1.0 - left(index + 1) / left(index)).min(LARGEST) as f32)
        .collect()
}

impl Config {
    /// Times of `steps` steps, the noisiest first, as PNDM, DDIM and Euler's scheduler have them; not rounded where they are
    /// spread evenly.
    pub(super) fn times(&self, steps: usize, spacing: Spacing) -> Vec<f64> {
        let trained = self.num_train_timesteps;
        match spacing {
            Spacing::Linspace => linspace(trained, steps),
            Spacing::Leading => self.leading(trained / steps, steps),
            Spacing::Trailing => trailing(trained, trained as f64 / steps as f64),
        }
    }

    /// `count` times so far apart, the last at the offset.
    pub(super) fn leading(&self, apart: usize, count: usize) -> Vec<f64> {
        let time = |index: usize| (index * apart) as f64 + self.steps_offset as f64;
        (0..count).rev().map(time).collect()
    }
}

/// `count` times from the last of training to the first.
pub(super) fn linspace(trained: usize, count: usize) -> Vec<f64> {
    let apart = (trained - 1) as f64 / (count.max(2) - 1) as f64;
    (0..count).rev().map(|index| index as f64 * apart).collect()
}

/// From the last time of training on, so far apart.
pub(super) fn trailing(trained: usize, apart: f64) -> Vec<f64> {
    let count = (trained as f64 / apart).ceil() as usize;
    let time = |index| (trained as f64 - index as f64 * apart).round_ties_even() - 1.0;
    (0..count).map(time).collect()
}

/// Times as whole numbers.
pub(super) fn rounded(times: Vec<f64>) -> Vec<f64> {
    times.into_iter().map(f64::round_ties_even).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn betas_are_those_of_diffusers() {
        let figures = include_str!("../../../tests/fixtures/noise_schedules.json");
        let figures: serde_json::Value = serde_json::from_str(figures).unwrap();
        for schedule in [
            BetaSchedule::Linear,
            BetaSchedule::ScaledLinear,
            BetaSchedule::SquaredCosine,
        ] {
            let config = Config::of_pixels(Prediction::Epsilon, schedule);
            let found = Vec::<f32>::try_from(betas(&config).unwrap()).unwrap();
            let name = serde_json::to_value(schedule).unwrap();
            let expected = &figures["schedules"][name.as_str().unwrap()]["betas"];
            let times = figures["times"].as_array().unwrap();
            for (time, expected) in times.iter().zip(expected.as_array().unwrap()) {
                let found = f64::from(found[time.as_u64().unwrap() as usize]);
                let expected = expected.as_f64().unwrap();
                let error = (found - expected).abs();
                assert!(
                    error <= 1e-6 * expected,
                    "{name} {time}: {found} {expected}"
                );
            }
        }
    }
}
