//! Convolutions whose weight is reordered once for oneDNN, channels innermost.
//!
//! libtorch's own reorders it in each call. 640 to 320 channels of two 64x64 images in bf16 on two busy cores with AMX: 185 ms by
//! libtorch with channels innermost, 244 ms with them outermost, 131 ms so.
//!
//! CPU only; ask [`available`] first.

use std::ffi::{c_char, c_void};

use tch::{Device, TchError, Tensor};

use crate::ffi::{owned, pointer};

unsafe extern "C" {
    fn saga_convolution_available() -> bool;
    fn saga_convolution_forward(
        x: *const c_void,
        weight: *const c_void,
        bias: *const c_void,
        padding: i64,
        stride: i64,
        error: *mut *mut c_char,
    ) -> *mut c_void;
}

/// Whether this libtorch has the kernels, which builds for other processors lack.
#[must_use]
pub fn available() -> bool {
    // SAFETY: takes nothing, and reads a registry that libtorch locks itself.
    unsafe { saga_convolution_available() }
}

/// A convolution of two dimensions in oneDNN's own order.
#[derive(Debug)]
pub struct PackedConv2d {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
}

impl PackedConv2d {
    /// Packs `weight` [outputs, inputs, kernel, kernel] and `bias` [outputs], both on the CPU and of one element type (f32 or
    /// bf16), for inputs of about the shape `input`; others are taken too.
    ///
    /// # Errors
    /// What libtorch says: another device, shape or type.
    pub fn new(
        weight: &Tensor,
        bias: &Tensor,
        stride: i64,
        padding: i64,
        input: [i64; 4],
    ) -> Result<Self, TchError> {
        if weight.device() != Device::Cpu {
            return Err(TchError::Torch("only the CPU has packed weights".into()));
        }
        let opaque = weight.f_contiguous()?.f_to_mkldnn(weight.f_kind()?)?;
        let (strides, paddings) = ([stride; 2], [padding; 2]);
        Ok(Self {
            weight: opaque.f_mkldnn_reorder_conv2d_weight(
                paddings,
                strides,
                [1, 1],
                1,
                input.as_slice(),
            )?,
            bias: bias.shallow_clone(),
            stride,
            padding,
        })
    }

    /// [N, inputs, height, width] to [N, outputs, ..], in the element type of the weight and with channels innermost.
    ///
    /// # Errors
    /// What libtorch says: another shape or type.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let (found, wanted) = (x.f_kind()?, self.bias.f_kind()?);
        if found != wanted {
            let why = format!("an input of {found:?} for a weight of {wanted:?}");
            return Err(TchError::Kind(why));
        }
        let mut error = std::ptr::null_mut();
        // SAFETY: every tensor outlives the call, which keeps none.
        let output = unsafe {
            saga_convolution_forward(
                x.as_ptr().cast(),
                self.weight.as_ptr().cast(),
                pointer(Some(&self.bias)),
                self.padding,
                self.stride,
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
    use tch::Kind;

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn it_equals_the_operator_for_inputs_of_any_shape_and_order() {
        if !available() {
            eprintln!("skipped: this libtorch has no oneDNN kernels");
            return;
        }
        let (weight, bias) = (random(&[6, 5, 3, 3]), random(&[6]));
        for (stride, padding) in [(1, 1), (2, 1), (2, 0)] {
            let packed = PackedConv2d::new(&weight, &bias, stride, padding, [2, 5, 8, 8]).unwrap();
            for shape in [[2, 5, 8, 8], [3, 5, 7, 9], [1, 5, 3, 3]] {
                let x = random(&shape);
                let last = x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
                let expected = x.conv2d(&weight, Some(&bias), [stride; 2], [padding; 2], [1, 1], 1);
                for x in [x, last] {
                    let found = packed.forward(&x).unwrap();
                    assert_eq!(found.size(), expected.size());
                    let difference = (found - &expected).abs().max().double_value(&[]);
                    assert!(difference < 1e-5, "{shape:?}: {difference}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        if !available() {
            eprintln!("skipped: this libtorch has no oneDNN kernels");
            return;
        }
        let (weight, bias) = (random(&[6, 5, 3, 3]), random(&[6]));
        let packed = PackedConv2d::new(&weight, &bias, 1, 1, [1, 5, 8, 8]).unwrap();
        assert!(packed.forward(&random(&[1, 4, 8, 8])).is_err());
        assert!(
            packed
                .forward(&random(&[1, 5, 8, 8]).to_kind(Kind::Half))
                .is_err()
        );
    }
}
