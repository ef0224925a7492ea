//! The fixed batch by which a model proves at start that a faster precision agrees with f32.

use crate::error::Result;
use tch::{Device, Kind, Tensor};

/// Two fixed images of smooth noise, the same on every machine.
pub(crate) fn canary(channels: i64, side: i64) -> Result<Tensor> {
    let ramp = Tensor::f_arange(2 * channels * side * side, (Kind::Float, Device::Cpu))?;
    Ok(ramp
        .f_mul_scalar(0.37)?
        .f_sin()?
        .f_reshape([2, channels, side, side])?)
}

pub(crate) fn max_difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(a.f_sub(b)?.f_abs()?.f_max()?.f_double_value(&[])?)
}
