//! Ranges fixed beforehand: QuantizeLinear and DequantizeLinear around what runtimes then compute in integers.
//!
//! Quantised is what goes into each quantised node and, of a convolution, what comes out (after the ReLU that follows it), so that
//! a runtime finds integers on both sides. Everything that asks for such a value gets the quantised one.

use super::{Levels, Ranges, output_axis, quantize_weight};
use crate::error::{ExportError, Result};
use crate::onnx::graph::Attribute::Int;
use crate::onnx::graph::{Graph, Node};
use saga_models::tch::{Device, Kind, Tensor};
use std::collections::HashMap;

/// The names of what will be quantised.
pub(crate) fn values(graph: &Graph) -> Vec<String> {
    let uses = graph.uses();
    let mut values = Vec::new();
    for node in graph
        .nodes
        .iter()
        .filter(|node| output_axis(node, graph).is_some())
    {
        values.extend(node.inputs.first().cloned());
        let Some(output) = node.outputs.first().filter(|_| node.op == "Conv") else {
            continue;
        };
        let relu = graph
            .nodes
            .iter()
            .find(|next| next.op == "Relu" && next.inputs.contains(output));
        let alone = uses.get(output.as_str()) == Some(&1);
        let result = relu.filter(|_| alone).and_then(|relu| relu.outputs.first());
        values.extend(Some(result.unwrap_or(output)).cloned());
    }
    values
}

/// Quantises the encoder's linear maps and convolutions by these ranges. Batch normalisation must be folded.
pub(crate) fn qdq(graph: &mut Graph, ranges: &Ranges) -> Result<()> {
    let mut replaced: HashMap<String, String> = HashMap::new();
    for mut node in std::mem::take(&mut graph.nodes) {
        let axis = output_axis(&node, graph);
        if let Some(axis) = axis {
            quantize_parameters(graph, &mut node, axis, ranges)?;
        }
        for input in &mut node.inputs {
            if let Some(quantized) = replaced.get(input) {
                input.clone_from(quantized);
            }
        }
        let outputs = node.outputs.clone();
        graph.nodes.push(node);
        for output in outputs {
            if let Some(&(low, high)) = ranges.get(&output) {
                let quantized = through_levels(graph, &output, Levels::of(low, high))?;
                replaced.insert(output, quantized);
            }
        }
    }
    Ok(())
}

/// `value` as runtimes find it again after a quantised node.
fn through_levels(graph: &mut Graph, value: &str, levels: Levels) -> Result<String> {
    let scale = Tensor::f_scalar_tensor(levels.scale, (Kind::Float, Device::Cpu))?;
    let scale = graph.initializer(&format!("{value}/scale"), scale)?;
    let zero = Tensor::f_scalar_tensor(levels.zero_point, (Kind::Uint8, Device::Cpu))?;
    let zero = graph.initializer(&format!("{value}/zero_point"), zero)?;
    let quantized = graph.push(value, "QuantizeLinear", &[value, &scale, &zero], &[]);
    Ok(graph.push(value, "DequantizeLinear", &[&quantized, &scale, &zero], &[]))
}

/// Weight and bias as levels; the bias's scale is that of the products it is added to.
fn quantize_parameters(
    graph: &mut Graph,
    node: &mut Node,
    axis: i64,
    ranges: &Ranges,
) -> Result<()> {
    let [x, weight, bias @ ..] = node.inputs.as_mut_slice() else {
        return Ok(());
    };
    let missing = |name: &str| ExportError::MissingTensor {
        name: name.to_owned(),
    };
    let &(low, high) = ranges.get(x).ok_or_else(|| missing(x))?;
    let scale = quantize_weight(graph, weight, axis)?;
    let product = scale.f_mul_scalar(Levels::of(low, high).scale)?;
    *weight = dequantized(graph, weight, scale, Kind::Int8, axis)?;
    if let [bias] = bias {
        let tensor = graph
            .initializers
            .get_mut(bias)
            .ok_or_else(|| missing(bias))?;
        *tensor = tensor.f_div(&product)?.f_round()?.f_to_kind(Kind::Int)?;
        *bias = dequantized(graph, bias, product, Kind::Int, 0)?;
    }
    Ok(())
}

fn dequantized(
    graph: &mut Graph,
    name: &str,
    scale: Tensor,
    kind: Kind,
    axis: i64,
) -> Result<String> {
    let zero = Tensor::f_zeros(scale.size(), (kind, Device::Cpu))?;
    let scale = graph.initializer(&format!("{name}/scale"), scale)?;
    let zero = graph.initializer(&format!("{name}/zero_point"), zero)?;
    Ok(graph.push(
        name,
        "DequantizeLinear",
        &[name, &scale, &zero],
        &[("axis", Int(axis))],
    ))
}
