//! Batch normalisation into the convolution before it, which then has a bias: what remains is one product to quantise.

use crate::error::{ExportError, Result};
use crate::onnx::graph::{Attribute, Graph, Node};
use saga_models::tch::Tensor;

/// Folds every normalisation whose input is a convolution of its own.
pub(crate) fn fold_batch_norms(graph: &mut Graph) -> Result<()> {
    let mut nodes: Vec<Node> = Vec::new();
    for node in std::mem::take(&mut graph.nodes) {
        let folds = node.op == "BatchNormalization"
            && nodes.last().is_some_and(|last| {
                last.op == "Conv"
                    && last.inputs.len() == 2
                    && last.outputs.first() == node.inputs.first()
            });
        match nodes.last_mut().filter(|_| folds) {
            Some(convolution) => fold(graph, convolution, node)?,
            None => nodes.push(node),
        }
    }
    graph.nodes = nodes;
    graph.drop_unused();
    Ok(())
}

/// w' = w g / s and b' = b - m g / s, with s the root of variance and epsilon.
fn fold(graph: &mut Graph, convolution: &mut Node, norm: Node) -> Result<()> {
    let part = |index: usize| -> Result<Tensor> {
        let name = norm.inputs.get(index).map_or("", String::as_str);
        let missing = || ExportError::MissingTensor {
            name: name.to_owned(),
        };
        Ok(graph
            .initializers
            .get(name)
            .ok_or_else(missing)?
            .shallow_clone())
    };
    let eps = match norm.attributes.get("epsilon") {
        Some(Attribute::Float(eps)) => *eps,
        _ => 1e-5,
    };
    let factor = part(1)?.f_div(&part(4)?.f_add_scalar(eps)?.f_sqrt()?)?;
    let bias = part(2)?.f_sub(&part(3)?.f_mul(&factor)?)?;
    let name = convolution.inputs.get(1).cloned().unwrap_or_default();
    let missing = || ExportError::MissingTensor { name: name.clone() };
    let weight = graph.initializers.get_mut(&name).ok_or_else(missing)?;
    *weight = weight.f_mul(&factor.f_reshape([-1, 1, 1, 1])?)?;
    let scope = name.strip_suffix(".weight").unwrap_or(&name);
    convolution
        .inputs
        .push(graph.initializer(&format!("{scope}.bias"), bias)?);
    convolution.outputs = norm.outputs;
    Ok(())
}
