//! Evaluates a graph with libtorch, by the definitions of opset 17: to observe what flows through it, and to prove before a file is
//! written that it gives the model's answers.

use crate::error::{ExportError, Result};
use crate::onnx::graph::{Attribute, Graph, Node};
use crate::onnx::kind;
use saga_models::tch::{self, Device, Kind, Tensor};
use std::collections::HashMap;

/// The outputs of the graph for its inputs, in the order of its ports. `observe` sees every value that is computed.
pub(crate) fn evaluate(
    graph: &Graph,
    inputs: &[Tensor],
    mut observe: impl FnMut(&str, &Tensor) -> Result<()>,
) -> Result<Vec<Tensor>> {
    let _guard = tch::no_grad_guard();
    let named = graph.inputs.iter().map(|port| port.name.as_str());
    let mut values: HashMap<&str, Tensor> = named
        .zip(inputs.iter().map(Tensor::shallow_clone))
        .collect();
    let mut left = graph.uses();
    for node in &graph.nodes {
        let argument = |name: &String| {
            let found = values
                .get(name.as_str())
                .or_else(|| graph.initializers.get(name));
            found.ok_or_else(|| wrong(node, &format!("{name} is not there")))
        };
        let arguments = node
            .inputs
            .iter()
            .map(argument)
            .collect::<Result<Vec<_>>>()?;
        let results = operator(node, &arguments)?;
        for (name, result) in node.outputs.iter().zip(results) {
            observe(name, &result)?;
            values.insert(name, result);
        }
        for name in &node.inputs {
            if let Some(uses) = left.get_mut(name.as_str()) {
                *uses = uses.saturating_sub(1);
                if *uses == 0 {
                    values.remove(name.as_str());
                }
            }
        }
    }
    let output = |name: &str| values.remove(name).ok_or_else(|| absent(name));
    graph
        .outputs
        .iter()
        .map(|port| port.name.as_str())
        .map(output)
        .collect()
}

fn wrong(node: &Node, why: &str) -> ExportError {
    ExportError::Graph {
        node: node.outputs.first().unwrap_or(&node.op.to_owned()).clone(),
        why: why.to_owned(),
    }
}

fn absent(name: &str) -> ExportError {
    ExportError::Graph {
        node: name.to_owned(),
        why: "nothing computes it".to_owned(),
    }
}

fn operator(node: &Node, arguments: &[&Tensor]) -> Result<Vec<Tensor>> {
    let at = |index: usize| {
        arguments
            .get(index)
            .copied()
            .ok_or_else(|| wrong(node, "too few inputs"))
    };
    let maybe = |index: usize| arguments.get(index).copied();
    let x = at(0)?;
    let result = match node.op {
        "Add" => x.f_add(at(1)?)?,
        "ArgMax" => x.f_argmax(int(node, "axis")?, int(node, "keepdims")? == 1)?,
        "BatchNormalization" => {
            let (mean, variance) = (Some(at(3)?), Some(at(4)?));
            let eps = float(node, "epsilon")?;
            x.f_batch_norm(
                Some(at(1)?),
                Some(at(2)?),
                mean,
                variance,
                false,
                0.1,
                eps,
                false,
            )?
        }
        "Cast" => {
            x.f_to_kind(kind(int(node, "to")?).ok_or_else(|| wrong(node, "an unknown type"))?)?
        }
        "Concat" => Tensor::f_cat(arguments, int(node, "axis")?)?,
        "Conv" => {
            let padding = ints(node, "pads")?.get(..2).unwrap_or_default();
            x.f_conv2d(at(1)?, maybe(2), ints(node, "strides")?, padding, [1, 1], 1)?
        }
        "ConvInteger" => {
            let (x, weight) = (centred(x, at(2)?)?, at(1)?.f_to_kind(Kind::Float)?);
            let padding = ints(node, "pads")?.get(..2).unwrap_or_default();
            let sums =
                x.f_conv2d::<Tensor>(&weight, None, ints(node, "strides")?, padding, [1, 1], 1)?;
            sums.f_round()?.f_to_kind(Kind::Int)?
        }
        "DequantizeLinear" => dequantized(node, x, at(1)?, at(2)?)?,
        "Div" => x.f_div(at(1)?)?,
        "DynamicQuantizeLinear" => return quantized_by_its_range(x),
        "Equal" => x.f_eq_tensor(at(1)?)?,
        "Erf" => x.f_erf()?,
        "Expand" => x.f_expand(Vec::<i64>::try_from(at(1)?)?, false)?,
        "Flatten" => x.f_flatten(int(node, "axis")?, -1)?,
        "Gather" => gathered(x, at(1)?, int(node, "axis")?)?,
        "GatherND" => {
            let (_, _, width) = x.size3()?;
            let index = at(1)?.f_unsqueeze(-1)?.f_expand([-1, -1, width], false)?;
            x.f_gather(1, &index, false)?.f_squeeze_dim(1)?
        }
        "GlobalAveragePool" => x.f_mean_dim([2_i64, 3].as_slice(), true, x.f_kind()?)?,
        "LayerNormalization" => {
            let width = at(1)?.size1()?;
            x.f_layer_norm(
                [width],
                Some(at(1)?),
                Some(at(2)?),
                float(node, "epsilon")?,
                false,
            )?
        }
        "MatMul" => x.f_matmul(at(1)?)?,
        "MatMulInteger" => {
            let (x, weight) = (centred(x, at(2)?)?, at(1)?.f_to_kind(Kind::Float)?);
            x.f_matmul(&weight)?.f_round()?.f_to_kind(Kind::Int)?
        }
        "MaxPool" => {
            let padding = ints(node, "pads")?.get(..2).unwrap_or_default();
            x.f_max_pool2d(
                ints(node, "kernel_shape")?,
                ints(node, "strides")?,
                padding,
                [1, 1],
                false,
            )?
        }
        "Mul" => x.f_mul(at(1)?)?,
        "QuantizeLinear" => {
            let levels = x.f_div(at(1)?)?.f_round()?.f_add(at(2)?)?;
            levels.f_clamp(0, 255)?.f_to_kind(Kind::Uint8)?
        }
        "ReduceL2" => {
            x.f_norm_scalaropt_dim(2, ints(node, "axes")?, int(node, "keepdims")? == 1)?
        }
        "Relu" => x.f_relu()?,
        "Reshape" => {
            let wanted = Vec::<i64>::try_from(at(1)?)?;
            let side = |(index, side): (usize, &i64)| match side {
                0 => x.size().get(index).copied().unwrap_or(0),
                side => *side,
            };
            x.f_reshape(wanted.iter().enumerate().map(side).collect::<Vec<_>>())?
        }
        "Shape" => {
            let (start, end) = (int(node, "start")? as usize, int(node, "end")? as usize);
            let sides = x.size();
            Tensor::f_from_slice(
                sides
                    .get(start..end)
                    .ok_or_else(|| wrong(node, "no such side"))?,
            )?
        }
        "Sigmoid" => x.f_sigmoid()?,
        "Slice" => {
            let number = |index| Ok::<_, ExportError>(at(index)?.f_int64_value(&[0])?);
            x.f_slice(number(3)?, number(1)?, number(2)?, 1)?
        }
        "Softmax" => x.f_softmax(int(node, "axis")?, x.f_kind()?)?,
        "Transpose" => x.f_permute(ints(node, "perm")?)?,
        _ => return Err(wrong(node, "an operator that is not known here")),
    };
    Ok(vec![result])
}

fn attribute<'a>(node: &'a Node, name: &'static str) -> Result<&'a Attribute> {
    let absent = || wrong(node, &format!("the attribute {name} is absent"));
    node.attributes.get(name).ok_or_else(absent)
}

fn int(node: &Node, name: &'static str) -> Result<i64> {
    match attribute(node, name)? {
        Attribute::Int(value) => Ok(*value),
        _ => Err(wrong(node, &format!("{name} is no integer"))),
    }
}

fn float(node: &Node, name: &'static str) -> Result<f64> {
    match attribute(node, name)? {
        Attribute::Float(value) => Ok(*value),
        _ => Err(wrong(node, &format!("{name} is no number"))),
    }
}

fn ints<'a>(node: &'a Node, name: &'static str) -> Result<&'a [i64]> {
    match attribute(node, name)? {
        Attribute::Ints(values) => Ok(values),
        _ => Err(wrong(node, &format!("{name} are no integers"))),
    }
}

/// Rows of `x` along `axis`; the axis goes where `index` is a number.
fn gathered(x: &Tensor, index: &Tensor, axis: i64) -> Result<Tensor> {
    let rows = x.f_index_select(axis, &index.f_flatten(0, -1)?)?;
    let mut shape = x.size();
    let axis = axis as usize;
    shape.splice(axis..=axis, index.size());
    Ok(rows.f_reshape(shape)?)
}

/// Levels less their zero point. Sums of them are rounded once they pass 2^24, a relative error of 1e-7.
fn centred(levels: &Tensor, zero_point: &Tensor) -> Result<Tensor> {
    Ok(levels
        .f_to_kind(Kind::Float)?
        .f_sub(&zero_point.f_to_kind(Kind::Float)?)?)
}

fn dequantized(
    node: &Node,
    levels: &Tensor,
    scale: &Tensor,
    zero_point: &Tensor,
) -> Result<Tensor> {
    if scale.numel() == 1 {
        return Ok(centred(levels, zero_point)?.f_mul(scale)?);
    }
    let mut shape = vec![1; levels.dim()];
    let axis = int(node, "axis")? as usize;
    if let Some(side) = shape.get_mut(axis) {
        *side = -1;
    }
    let zero_point = zero_point.f_reshape(&shape)?;
    Ok(centred(levels, &zero_point)?.f_mul(&scale.f_reshape(&shape)?)?)
}

/// Levels, scale and zero point of a tensor by its own least and largest value.
fn quantized_by_its_range(x: &Tensor) -> Result<Vec<Tensor>> {
    let range = super::int8::Levels::of(
        x.f_min()?.f_double_value(&[])?,
        x.f_max()?.f_double_value(&[])?,
    );
    let float = (Kind::Float, Device::Cpu);
    let (scale, zero_point) = (
        Tensor::f_scalar_tensor(range.scale, float)?,
        Tensor::f_scalar_tensor(range.zero_point, (Kind::Uint8, Device::Cpu))?,
    );
    let levels = x.f_div(&scale)?.f_round()?.f_add(&zero_point)?;
    let levels = levels.f_clamp(0, 255)?.f_to_kind(Kind::Uint8)?;
    Ok(vec![levels, scale, zero_point])
}
