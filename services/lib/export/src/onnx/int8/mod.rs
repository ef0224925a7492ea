//! A graph in 8-bit integers: the linear maps and convolutions of the encoder, whose weights are most of a model. Embeddings, norms,
//! attention and the head, which decides the answer, stay f32.
//!
//! Weights are signed, one scale an output channel, without zero point. What reaches them is unsigned, one scale and zero point
//! a tensor: taken from each batch at run time ([`dynamic`]), or fixed beforehand from pictures ([`qdq`]).

mod dynamic;
mod fold;
mod qdq;
mod ranges;

pub(crate) use dynamic::dynamic;
pub(crate) use fold::fold_batch_norms;
pub(crate) use qdq::{qdq, values};
pub(crate) use ranges::{Ranges, ranges};

use crate::error::{ExportError, Result};
use crate::onnx::graph::{Graph, Node};
use saga_models::tch::{Kind, Tensor};

/// What the names of quantised weights hold.
const ENCODER: &str = ".encoder.";
/// The largest level of a weight; -128 is left out, so that zero is the middle.
const LARGEST: f64 = 127.0;
/// Divides no weight by zero.
const LEAST_SCALE: f64 = 1e-12;

/// How numbers of a range become 0 to 255, zero exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Levels {
    pub(crate) scale: f64,
    pub(crate) zero_point: i64,
}

impl Levels {
    /// As DynamicQuantizeLinear defines it.
    pub(crate) fn of(low: f64, high: f64) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = ((high - low) / 255.0).max(LEAST_SCALE);
        Self {
            scale,
            zero_point: (-low / scale).round_ties_even().clamp(0.0, 255.0) as i64,
        }
    }

    /// The number that stands for this one.
    fn nearest(self, value: f64) -> f64 {
        let zero = self.zero_point as f64;
        let level = (value / self.scale).round_ties_even() + zero;
        (level.clamp(0.0, 255.0) - zero) * self.scale
    }
}

/// The axis of a quantised node's weight along which its outputs lie; none for nodes that stay as they are.
fn output_axis(node: &Node, graph: &Graph) -> Option<i64> {
    let weight = node.inputs.get(1)?;
    if !weight.contains(ENCODER) || !graph.initializers.contains_key(weight) {
        return None;
    }
    match node.op {
        "MatMul" => Some(1),
        "Conv" => Some(0),
        _ => None,
    }
}

/// A weight's levels take its place; gives the scale of each output [outputs].
fn quantize_weight(graph: &mut Graph, name: &str, axis: i64) -> Result<Tensor> {
    let missing = || ExportError::MissingTensor {
        name: name.to_owned(),
    };
    let weight = graph.initializers.get_mut(name).ok_or_else(missing)?;
    let others: Vec<i64> = (0..weight.dim() as i64)
        .filter(|&other| other != axis)
        .collect();
    let scale = weight
        .f_abs()?
        .f_amax(&others, true)?
        .f_div_scalar(LARGEST)?;
    let scale = scale.f_clamp_min(LEAST_SCALE)?;
    *weight = weight.f_div(&scale)?.f_round()?.f_to_kind(Kind::Int8)?;
    Ok(scale.f_flatten(0, -1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_a_level_of_every_range() {
        for (low, high, zero_point) in [
            (0.0, 2.0, 0),
            (1.0, 2.0, 0),
            (-3.0, -1.0, 255),
            (-1.0, 1.0, 128),
            (0.0, 0.0, 0),
        ] {
            let levels = Levels::of(low, high);
            assert_eq!(levels.zero_point, zero_point, "{low} to {high}");
            assert!(levels.scale > 0.0);
        }
    }
}
