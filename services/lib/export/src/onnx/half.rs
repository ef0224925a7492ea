//! A graph in f16: weights and what flows between them. Inputs and outputs stay f32, so that callers change nothing.

use crate::error::{ExportError, Result};
use crate::onnx::graph::{Attribute, Graph, Node};
use crate::onnx::proto::data_type;
use saga_models::tch::{Kind, Tensor};

/// The largest number of f16.
const LIMIT: f64 = 65_504.0;

/// # Errors
/// [`ExportError::Overflow`] names a weight that f16 cannot hold.
pub(crate) fn convert(graph: &mut Graph) -> Result<()> {
    for (name, tensor) in &mut graph.initializers {
        if tensor.f_kind()? == Kind::Float {
            *tensor = halved(name, tensor)?;
        }
    }
    let inputs: Vec<String> = floats(graph.inputs.iter().map(|port| (&port.name, port.kind)));
    let mut casts = Vec::new();
    for input in inputs {
        let half = graph.free(&format!("{input}/Cast"));
        for name in graph.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
            if *name == input {
                name.clone_from(&half);
            }
        }
        casts.push(cast(input, half, data_type::FLOAT16));
    }
    graph.nodes.splice(..0, casts);
    let outputs: Vec<String> = floats(graph.outputs.iter().map(|port| (&port.name, port.kind)));
    for output in outputs {
        let half = graph.free(&format!("{output}/f16"));
        for name in graph.nodes.iter_mut().flat_map(|node| &mut node.outputs) {
            if *name == output {
                name.clone_from(&half);
            }
        }
        graph.nodes.push(cast(half, output, data_type::FLOAT));
    }
    Ok(())
}

fn floats<'a>(ports: impl Iterator<Item = (&'a String, Kind)>) -> Vec<String> {
    let floats = ports.filter(|(_, kind)| *kind == Kind::Float);
    floats.map(|(name, _)| name.clone()).collect()
}

fn cast(from: String, to: String, data_type: i32) -> Node {
    Node {
        op: "Cast",
        inputs: vec![from],
        outputs: vec![to],
        attributes: [("to", Attribute::Int(data_type.into()))].into(),
    }
}

/// Infinities, which masks are made of, stay.
fn halved(name: &str, tensor: &Tensor) -> Result<Tensor> {
    let half = tensor.f_to_kind(Kind::Half)?;
    let became_infinite = half.f_isinf()?.f_logical_xor(&tensor.f_isinf()?)?;
    match became_infinite.f_any()?.f_int64_value(&[])? {
        0 => Ok(half),
        _ => Err(ExportError::Overflow {
            name: name.to_owned(),
            limit: LIMIT,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_f16_cannot_hold_is_refused_by_name() {
        let mut graph = Graph::new("test");
        let numbers = |largest: f32| Tensor::from_slice(&[f32::NEG_INFINITY, largest]);
        graph.initializer("mask", numbers(60_000.0)).unwrap();
        convert(&mut graph).unwrap();
        assert_eq!(graph.initializers["mask"].kind(), Kind::Half);
        graph.initializer("vit.weight", numbers(70_000.0)).unwrap();
        let error = convert(&mut graph).unwrap_err();
        assert!(
            matches!(&error, ExportError::Overflow { name, .. } if name == "vit.weight"),
            "{error}"
        );
    }
}
