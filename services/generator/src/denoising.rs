//! Settings of the backends that take noise out of a picture: what their configurations and requests may hold.

use std::ops::RangeInclusive;

use crate::error::GenerateError;
use crate::parameters::{Parameters, invalid};

/// Steps from pure noise.
pub(crate) const STEPS: RangeInclusive<usize> = 1..=1000;
/// How much further than without what is asked for.
pub(crate) const GUIDANCE: RangeInclusive<f64> = 0.0..=100.0;
/// Share of the steps that an edit takes.
pub(crate) const STRENGTH: RangeInclusive<f64> = 0.01..=1.0;
/// Quality of the answer's JPEG.
pub(crate) const JPEG_QUALITY: RangeInclusive<u8> = 50..=100;

/// A request's strength, of so many steps.
///
/// # Errors
/// One out of range, or so little of the steps that none is left.
pub(crate) fn strength(
    parameters: &mut Parameters,
    default: f64,
    steps: usize,
) -> Result<f64, GenerateError> {
    let strength = parameters.number("strength", default, STRENGTH)?;
    if steps as f64 * strength < 1.0 {
        let why = format!("is {strength}, less than one of {steps} steps; use more of either");
        return Err(invalid("strength", why));
    }
    Ok(strength)
}
