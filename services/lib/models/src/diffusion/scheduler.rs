//! Schedulers: at which times a model is asked, and what its answers make of the latents.
//!
//! One file each, behind [`Scheduler`]; figures equal those of diffusers' scheduler of the same configuration. Coefficients are
//! computed in f64 from alphas in f32, as diffusers keeps them, and latents are f32.

mod config;
mod ddim;
mod dpm_solver;
mod euler_ancestral;
mod forward;
mod min_snr;
mod pndm;
mod schedule;

pub use config::{BetaSchedule, Config, Kind, Prediction, Spacing};
pub use forward::Forward;

use crate::error::Result;
use tch::Tensor;

/// One run of a scheduler: [`Scheduler::step`] is called once for each of [`Scheduler::timesteps`], in order, from wherever the
/// run begins.
pub trait Scheduler {
    /// The times the model is asked at. There may be more of them than steps were asked for.
    fn timesteps(&self) -> &[f64];

    /// Deviation of the noise that a run from the first time begins with.
    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    /// What the model is given at the time of number `index` in place of `sample`.
    ///
    /// # Errors
    /// What libtorch says.
    fn scale_model_input(&self, sample: &Tensor, _index: usize) -> Result<Tensor> {
        Ok(sample.shallow_clone())
    }

    /// `clean` as noisy as samples are at the time of number `index`.
    ///
    /// # Errors
    /// What libtorch says.
    fn add_noise(&self, clean: &Tensor, noise: &Tensor, index: usize) -> Result<Tensor>;

    /// The sample after the time of number `index`; `noise` draws normal numbers of the sample's shape, where some are needed.
    ///
    /// # Errors
    /// What libtorch says.
    fn step(
        &mut self,
        output: &Tensor,
        index: usize,
        sample: &Tensor,
        noise: &mut dyn FnMut() -> Result<Tensor>,
    ) -> Result<Tensor>;
}

/// `a x + b y`.
fn combine(a: f64, x: &Tensor, b: f64, y: &Tensor) -> Result<Tensor> {
    Ok(x.f_mul_scalar(a)?.f_add_(&y.f_mul_scalar(b)?)?)
}
