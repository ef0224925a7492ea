//! Linear maps for serving: several as one, and one kernel with what follows.

use crate::error::{ModelError, Result};
use crate::layers::Linear;
use saga_kernels::{PackedLinear, Then};
use tch::Tensor;

/// A linear map that is not trained any more.
pub(crate) enum Fused {
    /// On the CPU.
    Packed(PackedLinear),
    /// Elsewhere.
    Plain {
        weight: Tensor,
        bias: Option<Tensor>,
    },
}

impl Fused {
    /// Maps of one input side by side, weights and biases scaled, for about `rows` rows at a time. Packed weights leave the
    /// store, so that they are in memory once.
    pub(crate) fn new(linears: &[&Linear], scale: [f64; 2], rows: i64) -> Result<Self> {
        let scaled = |tensors: Vec<Tensor>, scale: f64| {
            let joint = match tensors.as_slice() {
                [one] => one.shallow_clone(),
                several => Tensor::f_cat(several, 0)?,
            };
            match scale == 1.0 {
                true => Ok(joint),
                false => joint.f_mul_scalar(scale),
            }
        };
        let weights = linears.iter().map(|linear| linear.weight.shallow_clone());
        let weight = scaled(weights.collect(), scale[0])?;
        let biases: Option<Vec<Tensor>> = linears
            .iter()
            .map(|linear| Some(linear.bias.as_ref()?.shallow_clone()))
            .collect();
        let bias = biases.map(|biases| scaled(biases, scale[1])).transpose()?;
        if !saga_kernels::linear::available() || weight.device() != tch::Device::Cpu {
            return Ok(Self::Plain { weight, bias });
        }
        let packed = PackedLinear::new(&weight, bias.as_ref(), rows)?;
        let nothing = weight.f_new_empty([0i64; 1], (weight.f_kind()?, weight.device()))?;
        for linear in linears {
            linear.weight.shallow_clone().f_set_data(&nothing)?;
        }
        Ok(Self::Packed(packed))
    }

    /// [.., inputs] to [.., outputs].
    pub(crate) fn forward(&self, x: &Tensor, then: Then) -> Result<Tensor> {
        match self {
            Self::Packed(packed) => packed.forward(x, then).map_err(ModelError::from),
            Self::Plain { weight, bias } => {
                let x = x.f_linear(weight, bias.as_ref())?;
                Ok(match then {
                    Then::Nothing => x,
                    Then::Gelu => x.f_gelu("none")?,
                    Then::Swish => x.f_silu()?,
                    Then::Add(other) => x.f_add(other)?,
                })
            }
        }
    }
}
