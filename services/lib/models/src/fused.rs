//! Linear maps for serving: several as one, and one kernel with what follows. The same for training, map by map, where a model
//! is made of the same parts to be trained and to be served.

use crate::error::{ModelError, Result};
use crate::layers::Linear;
use saga_kernels::{PackedLinear, QuantizedLinear, Ranges, Then};
use std::cell::RefCell;
use tch::{Device, Tensor};

/// How a model's linear maps are prepared for serving.
pub enum Sealing {
    /// In the model's own precision.
    Float,
    /// The same, and the ranges of what they are given are kept.
    Observed,
    /// In 8-bit integers, with the ranges that were observed, in the order in which maps are sealed.
    Int8(std::vec::IntoIter<Ranges>),
}

/// Linear maps of one input as one.
pub(crate) struct Fused {
    map: Map,
    /// What it was given, where that is observed.
    seen: Option<RefCell<Option<Ranges>>>,
}

enum Map {
    /// On the CPU.
    Packed(PackedLinear),
    /// On the CPU in integers.
    Quantized(QuantizedLinear),
    /// Elsewhere.
    Plain {
        weight: Tensor,
        bias: Option<Tensor>,
    },
    /// While their parameters change.
    Trained(Vec<Linear>),
}

/// Frees the numbers of a weight that a sealed copy stands for.
pub(crate) fn forget(weight: &Tensor) -> Result<()> {
    let nothing = weight.f_new_empty([0i64; 1], (weight.f_kind()?, weight.device()))?;
    Ok(weight.shallow_clone().f_set_data(&nothing)?)
}

impl Fused {
    /// Maps of one input side by side, weights and biases scaled, for about `rows` rows at a time. Packed weights leave the
    /// store, so that they are in memory once.
    pub(crate) fn new(
        linears: &[&Linear],
        scale: [f64; 2],
        rows: i64,
        sealing: &mut Sealing,
    ) -> Result<Self> {
        let (weight, bias) = joint(linears, scale)?;
        let map = match sealing {
            Sealing::Int8(ranges) => {
                let ranges = ranges.next().ok_or_else(|| {
                    ModelError::Int8("has ranges of fewer linear maps than the model has".into())
                })?;
                Map::Quantized(QuantizedLinear::new(&weight, bias.as_ref(), &ranges, rows)?)
            }
            _ if saga_kernels::linear::available() && weight.device() == Device::Cpu => {
                Map::Packed(PackedLinear::new(&weight, bias.as_ref(), rows)?)
            }
            _ => Map::Plain { weight, bias },
        };
        if !matches!(map, Map::Plain { .. }) {
            for linear in linears {
                forget(&linear.weight)?;
            }
        }
        let seen = matches!(sealing, Sealing::Observed).then(RefCell::default);
        Ok(Self { map, seen })
    }

    /// Maps of one input side by side, differentiable; a weight may be that of a 1x1 convolution.
    pub(crate) fn trained(linears: &[&Linear]) -> Self {
        let shared = |linear: &&Linear| Linear {
            weight: linear.weight.shallow_clone(),
            bias: linear.bias.as_ref().map(Tensor::shallow_clone),
        };
        Self {
            map: Map::Trained(linears.iter().map(shared).collect()),
            seen: None,
        }
    }

    /// [.., inputs] to [.., outputs].
    pub(crate) fn forward(&self, x: &Tensor, then: Then) -> Result<Tensor> {
        if let Some(seen) = &self.seen {
            let now = Ranges::of(x)?;
            let all = match seen.take() {
                Some(before) => before.and(&now)?,
                None => now,
            };
            seen.replace(Some(all));
        }
        match &self.map {
            Map::Packed(packed) => packed.forward(x, then).map_err(ModelError::from),
            Map::Quantized(quantized) => quantized.forward(x, then).map_err(ModelError::from),
            Map::Plain { weight, bias } => followed(x.f_linear(weight, bias.as_ref())?, then),
            Map::Trained(linears) => {
                let mapped = linears.iter().map(|linear| linear.forward(x));
                let mapped = mapped.collect::<Result<Vec<Tensor>>>()?;
                followed(Tensor::f_cat(&mapped, -1)?, then)
            }
        }
    }

    /// Takes the ranges of what it was given since it was sealed, where that was observed and there was something.
    pub(crate) fn take_seen(&self) -> Option<Ranges> {
        self.seen.as_ref()?.take()
    }
}

/// What follows a linear map, operator by operator.
fn followed(x: Tensor, then: Then) -> Result<Tensor> {
    Ok(match then {
        Then::Nothing => x,
        Then::Gelu => x.f_gelu("none")?,
        Then::Swish => x.f_silu()?,
        Then::Add(other) => x.f_add(other)?,
    })
}

/// Weight and bias of maps side by side, scaled.
fn joint(linears: &[&Linear], scale: [f64; 2]) -> Result<(Tensor, Option<Tensor>)> {
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
    let weights = linears.iter().map(|linear| linear.weight.f_flatten(1, -1));
    let weights = weights.collect::<std::result::Result<Vec<_>, _>>()?;
    let biases: Option<Vec<Tensor>> = linears
        .iter()
        .map(|linear| Some(linear.bias.as_ref()?.shallow_clone()))
        .collect();
    let bias = biases.map(|biases| scaled(biases, scale[1])).transpose()?;
    Ok((scaled(weights, scale[0])?, bias))
}
