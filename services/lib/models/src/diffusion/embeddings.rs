//! The time of a diffusion as a vector: sinusoids (Vaswani et al. 2017; Ho et al. 2020), then a small network, as diffusers'
//! `Timesteps` and `TimestepEmbedding`.

use super::layers::linear;
use crate::error::Result;
use crate::fused::Fused;
use crate::weights::Scope;
use saga_kernels::Then;
use tch::{Kind, Tensor};

const MAX_PERIOD: f64 = 10_000.0;

/// Sinusoids [N, width] in f32 of times [N] in f32: cosines first where `cosines_first`.
pub(super) fn sinusoids(
    times: &Tensor,
    width: i64,
    cosines_first: bool,
    freq_shift: f64,
) -> Result<Tensor> {
    let half = width / 2;
    let step = -MAX_PERIOD.ln() / (half as f64 - freq_shift);
    let angles = Tensor::f_arange(half, (Kind::Float, times.device()))?
        .f_mul_scalar(step)?
        .f_exp()?
        .f_mul(&times.f_unsqueeze(-1)?)?;
    let (sines, cosines) = (angles.f_sin()?, angles.f_cos()?);
    let parts = match cosines_first {
        true => [cosines, sines],
        false => [sines, cosines],
    };
    Ok(Tensor::f_cat(&parts, -1)?)
}

/// Keys `linear_1` and `linear_2`.
pub(super) struct TimestepEmbedding {
    linear_1: Fused,
    linear_2: Fused,
}

impl TimestepEmbedding {
    pub(super) fn new(scope: &Scope, inputs: i64, outputs: i64) -> Result<Self> {
        Ok(Self {
            linear_1: linear(&scope.at("linear_1"), inputs, outputs, 1)?,
            linear_2: linear(&scope.at("linear_2"), outputs, outputs, 1)?,
        })
    }

    /// [N, inputs] to [N, outputs].
    pub(super) fn forward(&self, sinusoids: &Tensor) -> Result<Tensor> {
        let inner = self.linear_1.forward(sinusoids, Then::Swish)?;
        self.linear_2.forward(&inner, Then::Nothing)
    }
}
