//! The forward process: what training shows a model, and what the model should answer (Ho et al. 2020; Salimans and Ho 2022), as
//! diffusers' `add_noise` and `get_velocity`.

use super::config::{Config, Prediction};
use super::schedule::Schedule;
use crate::error::Result;
use tch::{Device, Tensor};

/// A schedule of noise for batches of which every sample has a time of its own.
pub struct Forward {
    /// Of the clean sample and of the noise at each time, [times] in f32.
    signal: Tensor,
    noise: Tensor,
    prediction: Prediction,
}

impl Forward {
    /// # Errors
    /// What libtorch says.
    pub fn new(config: &Config, device: Device) -> Result<Self> {
        let schedule = Schedule::new(config)?;
        let of_each = |value: fn(f64) -> f64| {
            let alphas = schedule.alphas_cumprod().iter();
            let values: Vec<f32> = alphas.map(|alpha| value(*alpha).sqrt() as f32).collect();
            Tensor::f_from_slice(&values)?.f_to_device(device)
        };
        Ok(Self {
            signal: of_each(|alpha| alpha)?,
            noise: of_each(|alpha| 1.0 - alpha)?,
            prediction: config.prediction_type,
        })
    }

    /// `clean` [N, ..] in f32, as noisy as samples are at `times` [N] in int64.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn noisy(&self, clean: &Tensor, noise: &Tensor, times: &Tensor) -> Result<Tensor> {
        let (a, b) = self.at(times, clean)?;
        Ok(clean.f_mul(&a)?.f_add(&noise.f_mul(&b)?)?)
    }

    /// What the model should predict of the same.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn target(&self, clean: &Tensor, noise: &Tensor, times: &Tensor) -> Result<Tensor> {
        let (a, b) = self.at(times, clean)?;
        Ok(match self.prediction {
            Prediction::Epsilon => noise.shallow_clone(),
            Prediction::VPrediction => noise.f_mul(&a)?.f_sub(&clean.f_mul(&b)?)?,
        })
    }

    /// Shares of the clean sample and of the noise, of the dimensions of `like`.
    fn at(&self, times: &Tensor, like: &Tensor) -> Result<(Tensor, Tensor)> {
        let mut shape = vec![1; like.dim()];
        if let Some(first) = shape.first_mut() {
            *first = -1;
        }
        let share = |shares: &Tensor| shares.f_index_select(0, times)?.f_reshape(&shape);
        Ok((share(&self.signal)?, share(&self.noise)?))
    }
}
