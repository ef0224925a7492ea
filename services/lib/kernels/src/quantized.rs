//! Linear maps of 8-bit integers: inputs unsigned with a scale and a zero point of their own, known beforehand, weights signed with
//! a scale a row, sums in 32 bits and results in floating point.
//!
//! Scales are fixed, never taken from a batch: an image's answer must not depend on its company. Inputs of one layer differ a
//! lot by column, so that each has a factor, whose inverse the weights take (SmoothQuant, Xiao et al. 2023, with alpha 1/2).
//!
//! ViT-B/16 on two cores, sixteen images at a time, ms an image: f32 151, int8 28, bf16 on AMX 26; without AMX f32 170, int8 40. On
//! AMX the passes that quantise inputs cost what the products spare; GELU's kernel could write the last map's levels itself.
//!
//! CPU only; ask [`available`] first.

use std::ffi::{CStr, c_char, c_void};

use tch::{Device, Kind, TchError, Tensor};

use crate::ffi::{owned, pointer};
use crate::linear::Then;

unsafe extern "C" {
    fn saga_quantized_available() -> bool;
    fn saga_quantize(
        x: *const c_void,
        factors: *const c_void,
        zero: i64,
        error: *mut *mut c_char,
    ) -> *mut c_void;
    fn saga_quantized_pack(
        weight: *const c_void,
        rows: i64,
        error: *mut *mut c_char,
    ) -> *mut c_void;
    fn saga_quantized_forward(
        x: *const c_void,
        zero: i64,
        weight: *const c_void,
        scales: *const c_void,
        zeros: *const c_void,
        bias: *const c_void,
        other: *const c_void,
        activation: *const c_char,
        like: *const c_void,
        error: *mut *mut c_char,
    ) -> *mut c_void;
}

/// Whether this libtorch has the kernels, which builds for other processors lack.
#[must_use]
pub fn available() -> bool {
    // SAFETY: takes nothing, and reads a registry that libtorch locks itself.
    unsafe { saga_quantized_available() }
}

/// The least and the largest input seen in each column: f32 [inputs], on the CPU.
#[derive(Debug)]
pub struct Ranges {
    pub low: Tensor,
    pub high: Tensor,
}

impl Ranges {
    /// Of `x` [.., inputs].
    ///
    /// # Errors
    /// What libtorch says: no element.
    pub fn of(x: &Tensor) -> Result<Self, TchError> {
        let inputs = x.size().last().copied().unwrap_or(1);
        let rows = x.f_reshape([-1, inputs])?;
        let cpu = |x: Tensor| x.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float);
        Ok(Self {
            low: cpu(rows.f_amin([0i64].as_slice(), false)?)?,
            high: cpu(rows.f_amax([0i64].as_slice(), false)?)?,
        })
    }

    /// The same tensors.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        Self {
            low: self.low.shallow_clone(),
            high: self.high.shallow_clone(),
        }
    }

    /// What both have seen.
    ///
    /// # Errors
    /// What libtorch says: another number of inputs.
    pub fn and(&self, other: &Self) -> Result<Self, TchError> {
        Ok(Self {
            low: self.low.f_minimum(&other.low)?,
            high: self.high.f_maximum(&other.high)?,
        })
    }
}

/// A linear map in integers, in oneDNN's own order.
#[derive(Debug)]
pub struct QuantizedLinear {
    /// What a column of the input is multiplied by to become levels: [inputs].
    factors: Tensor,
    zero: i64,
    weight: Tensor,
    /// Of each row of the weight, times that of the input: [outputs].
    scales: Tensor,
    zeros: Tensor,
    bias: Option<Tensor>,
}

/// Below this, a column of zeros would be divided by nothing.
const TINY: f64 = 1e-6;

impl QuantizedLinear {
    /// Quantises `weight` [outputs, inputs] for inputs that lie within `inputs`, others being cut, about `rows` rows at a time;
    /// `bias` [outputs]. All on the CPU.
    ///
    /// # Errors
    /// What libtorch says: another device or shape.
    pub fn new(
        weight: &Tensor,
        bias: Option<&Tensor>,
        inputs: &Ranges,
        rows: i64,
    ) -> Result<Self, TchError> {
        let float = |x: &Tensor| x.f_to_kind(Kind::Float);
        let weight = float(weight)?;
        let largest = |x: &Tensor| {
            x.f_abs()?
                .f_amax([0i64].as_slice(), false)?
                .f_clamp_min(TINY)
        };
        let reach = inputs.low.f_abs()?.f_maximum(&inputs.high.f_abs()?)?;
        let reach = reach.f_clamp_min(TINY)?;
        // Half of what columns of the input differ by goes to the weight.
        let smooth = largest(&weight)?.f_div(&reach)?.f_sqrt()?;
        let extreme = |x: Tensor| x.f_double_value(&[]);
        let low = extreme(inputs.low.f_mul(&smooth)?.f_min()?)?.min(0.0);
        let high = extreme(inputs.high.f_mul(&smooth)?.f_max()?)?.max(0.0);
        let scale = ((high - low) / 255.0).max(f64::MIN_POSITIVE);
        let zero = (-low / scale).round();
        let weight = weight.f_div(&smooth)?;
        let scales = weight.f_abs()?.f_amax([1i64].as_slice(), false)?;
        let scales = scales.f_clamp_min(TINY * TINY)?.f_div_scalar(127.0)?;
        let weight = weight.f_div(&scales.f_unsqueeze(1)?)?.f_round()?;
        let weight = weight.f_to_kind(Kind::Int8)?.f_contiguous()?;
        let mut error = std::ptr::null_mut();
        // SAFETY: `weight` outlives the call, which does not keep it.
        let packed = unsafe { saga_quantized_pack(weight.as_ptr().cast(), rows, &mut error) };
        Ok(Self {
            factors: smooth.f_div_scalar(scale)?.f_contiguous()?,
            zero: zero as i64,
            weight: owned(packed, error)?,
            zeros: scales.f_zeros_like()?.f_to_kind(Kind::Int)?,
            scales: scales.f_mul_scalar(scale)?,
            bias: bias.map(float).transpose()?,
        })
    }

    /// [.., inputs] to [.., outputs], both f32 or bf16.
    ///
    /// # Errors
    /// What libtorch says: another shape or type.
    pub fn forward(&self, x: &Tensor, then: Then) -> Result<Tensor, TchError> {
        let x = x.f_contiguous()?;
        let mut error = std::ptr::null_mut();
        // SAFETY: both tensors outlive the call, which keeps none.
        let levels = unsafe {
            saga_quantize(
                x.as_ptr().cast(),
                self.factors.as_ptr().cast(),
                self.zero,
                &mut error,
            )
        };
        let levels = owned(levels, error)?;
        let (activation, other): (&CStr, _) = match then {
            Then::Nothing => (c"none", None),
            Then::Gelu => (c"gelu", None),
            Then::Swish => (c"swish", None),
            Then::Add(other) => (c"none", Some(other.f_contiguous()?)),
        };
        let mut error = std::ptr::null_mut();
        // SAFETY: every tensor and the string outlive the call, which keeps none.
        let output = unsafe {
            saga_quantized_forward(
                levels.as_ptr().cast(),
                self.zero,
                self.weight.as_ptr().cast(),
                self.scales.as_ptr().cast(),
                self.zeros.as_ptr().cast(),
                pointer(self.bias.as_ref()),
                pointer(other.as_ref()),
                activation.as_ptr(),
                x.as_ptr().cast(),
                &mut error,
            )
        };
        owned(output, error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    /// The cosine of what was found and what should have been.
    fn likeness(found: &Tensor, expected: &Tensor) -> f64 {
        assert_eq!(found.size(), expected.size());
        let flat = |x: &Tensor| x.to_kind(Kind::Float).reshape([1, -1]);
        Tensor::cosine_similarity(&flat(found), &flat(expected), 1, 1e-8).double_value(&[0])
    }

    #[test]
    fn every_fusion_is_near_its_operators() {
        if !available() {
            eprintln!("skipped: this libtorch has no kernels of 8-bit integers");
            return;
        }
        tch::manual_seed(1);
        for (inputs, outputs) in [(64, 48), (10, 6), (200, 33)] {
            // Columns that differ a hundredfold, and lie to one side.
            let spread = random(&[inputs]).exp() * 3.0;
            let x = (random(&[3, 40, inputs]) + 0.5) * &spread;
            let (weight, bias) = (random(&[outputs, inputs]), random(&[outputs]));
            let other = random(&[3, 40, outputs]) * 10.0;
            let ranges = Ranges::of(&x).unwrap();
            let linear = QuantizedLinear::new(&weight, Some(&bias), &ranges, 120).unwrap();
            let plain = x.linear(&weight, Some(&bias));
            for kind in [Kind::Float, Kind::BFloat16] {
                let (x, other) = (x.to_kind(kind), other.to_kind(kind));
                let near = |then, expected: Tensor| {
                    let found = linear.forward(&x, then).unwrap();
                    assert_eq!(found.kind(), kind);
                    let likeness = likeness(&found, &expected);
                    assert!(likeness > 0.999, "{inputs} to {outputs}: {likeness}");
                };
                near(Then::Nothing, plain.shallow_clone());
                near(Then::Gelu, plain.gelu("none"));
                near(Then::Swish, plain.silu());
                near(Then::Add(&other), &plain + other.to_kind(Kind::Float));
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_company() {
        if !available() {
            eprintln!("skipped: this libtorch has no kernels of 8-bit integers");
            return;
        }
        let (x, weight) = (random(&[16, 32]), random(&[24, 32]));
        let linear = QuantizedLinear::new(&weight, None, &Ranges::of(&x).unwrap(), 16).unwrap();
        let together = linear.forward(&x, Then::Nothing).unwrap();
        for row in 0..16 {
            let alone = linear.forward(&x.narrow(0, row, 1), Then::Nothing).unwrap();
            assert_eq!(alone, together.narrow(0, row, 1));
        }
    }

    #[test]
    fn what_lies_beyond_the_ranges_is_cut() {
        if !available() {
            eprintln!("skipped: this libtorch has no kernels of 8-bit integers");
            return;
        }
        let seen = Tensor::from_slice(&[-1.0f32, 1.0]).reshape([2, 1]);
        let weight = Tensor::from_slice(&[1.0f32]).reshape([1, 1]);
        let linear = QuantizedLinear::new(&weight, None, &Ranges::of(&seen).unwrap(), 1).unwrap();
        for (x, expected) in [(0.5, 0.5), (9.0, 1.0), (-9.0, -1.0), (0.0, 0.0)] {
            let found = linear
                .forward(
                    &Tensor::from_slice(&[x as f32]).reshape([1, 1]),
                    Then::Nothing,
                )
                .unwrap();
            assert!((found.double_value(&[0, 0]) - expected).abs() < 0.01, "{x}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        if !available() {
            eprintln!("skipped: this libtorch has no kernels of 8-bit integers");
            return;
        }
        let ranges = Ranges::of(&random(&[4, 10])).unwrap();
        let linear = QuantizedLinear::new(&random(&[6, 10]), None, &ranges, 1).unwrap();
        assert!(linear.forward(&random(&[2, 9]), Then::Nothing).is_err());
        let half = random(&[2, 10]).to_kind(Kind::Half);
        assert!(linear.forward(&half, Then::Nothing).is_err());
        assert!(QuantizedLinear::new(&random(&[6, 9]), None, &ranges, 1).is_err());
    }
}
