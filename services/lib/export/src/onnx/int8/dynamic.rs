//! Ranges taken from each batch at run time: DynamicQuantizeLinear, then MatMulInteger or ConvInteger.

use super::{output_axis, quantize_weight};
use crate::error::Result;
use crate::onnx::graph::Attribute::Int;
use crate::onnx::graph::{Graph, Node};
use crate::onnx::proto::data_type;
use saga_models::tch::Tensor;
use std::collections::{BTreeMap, HashMap};

/// Levels, scale and zero point of a value.
type Quantized = [String; 3];

/// Quantises the encoder's linear maps and convolutions. Batch normalisation must be folded.
pub(crate) fn dynamic(graph: &mut Graph) -> Result<()> {
    let mut quantized: HashMap<String, Quantized> = HashMap::new();
    for node in std::mem::take(&mut graph.nodes) {
        match output_axis(&node, graph) {
            Some(axis) => in_integers(graph, node, axis, &mut quantized)?,
            None => graph.nodes.push(node),
        }
    }
    Ok(())
}

fn in_integers(
    graph: &mut Graph,
    mut node: Node,
    axis: i64,
    quantized: &mut HashMap<String, Quantized>,
) -> Result<()> {
    let [x, weight, ..] = node.inputs.as_slice() else {
        graph.nodes.push(node);
        return Ok(());
    };
    let (weight, bias) = (weight.clone(), node.inputs.get(2).cloned());
    // Query, key and value share theirs.
    let [levels, scale, zero_point] = match quantized.get(x) {
        Some(known) => known.clone(),
        None => {
            let parts = quantize(graph, x);
            quantized.insert(x.clone(), parts.clone());
            parts
        }
    };
    let weight_scale = quantize_weight(graph, &weight, axis)?;
    let is_convolution = node.op == "Conv";
    // Channels of an image come before its rows and columns.
    let channels = |tensor: &Tensor| match is_convolution {
        true => tensor.f_reshape([-1, 1, 1]),
        false => Ok(tensor.shallow_clone()),
    };
    let weight_scale = channels(&weight_scale)?;
    let weight_scale = graph.initializer(&format!("{weight}/scale"), weight_scale)?;
    let scope = weight.as_str();
    let op = if is_convolution {
        "ConvInteger"
    } else {
        "MatMulInteger"
    };
    let attributes: Vec<_> = std::mem::take(&mut node.attributes).into_iter().collect();
    let sums = graph.push(scope, op, &[&levels, &weight, &zero_point], &attributes);
    let sums = graph.push(
        scope,
        "Cast",
        &[&sums],
        &[("to", Int(data_type::FLOAT.into()))],
    );
    let scale = graph.push(scope, "Mul", &[&scale, &weight_scale], &[]);
    let product = graph.push(scope, "Mul", &[&sums, &scale], &[]);
    if let Some(bias) = bias {
        if let Some(tensor) = graph.initializers.get_mut(&bias) {
            *tensor = channels(tensor)?;
        }
        graph.push(scope, "Add", &[&product, &bias], &[]);
    }
    if let Some(last) = graph.nodes.last_mut() {
        last.outputs = node.outputs;
    }
    Ok(())
}

fn quantize(graph: &mut Graph, x: &str) -> Quantized {
    let parts = ["levels", "scale", "zero_point"].map(|part| graph.free(&format!("{x}/{part}")));
    graph.nodes.push(Node {
        op: "DynamicQuantizeLinear",
        inputs: vec![x.to_owned()],
        outputs: parts.to_vec(),
        attributes: BTreeMap::new(),
    });
    parts
}
