//! The layers that the models share, as operators of opset 17.
//!
//! What that opset lacks falls back to operators that it has, which runtimes put together again: GELU (an operator since opset
//! 20) is `0.5 x (1 + erf(x / sqrt 2))`, quick GELU `x sigmoid(1.702 x)`, attention (opset 23) two matrix products and a softmax.
//! LayerNormalization is one operator from opset 17 on, which is why it is the least that is written.
//!
//! Linear weights lie transposed, [inputs, outputs], because MatMul takes them so.

use crate::error::{ExportError, Result};
use crate::onnx::graph::Attribute::{Float, Int, Ints};
use crate::onnx::graph::{Attribute, Graph};
use saga_models::checkpoint::Tensors;
use saga_models::tch::Tensor;
use saga_models::{Activation, Names, QUICK_GELU};
use std::f64::consts::SQRT_2;

/// Puts the layers of a checkpoint into a graph.
pub(crate) struct Builder<'a> {
    pub(crate) graph: Graph,
    tensors: &'a Tensors,
}

/// What the blocks of one transformer have in common.
#[derive(Clone, Copy)]
pub(crate) struct Transformer<'a> {
    /// Keys of a block's parts.
    pub(crate) names: &'a Names,
    pub(crate) width: i64,
    pub(crate) heads: i64,
    pub(crate) activation: Activation,
    pub(crate) eps: f64,
    /// What is added to the scores of attention, where a token may not see all others.
    pub(crate) mask: Option<&'a str>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(name: &str, tensors: &'a Tensors) -> Self {
        Self {
            graph: Graph::new(name),
            tensors,
        }
    }

    /// A tensor of the checkpoint.
    fn tensor(&self, name: &str) -> Result<&'a Tensor> {
        let missing = || ExportError::MissingTensor {
            name: name.to_owned(),
        };
        self.tensors.get(name).ok_or_else(missing)
    }

    /// The same as a weight of the graph.
    pub(crate) fn weight(&mut self, name: &str) -> Result<String> {
        let tensor = self.tensor(name)?.f_detach()?;
        self.graph.initializer(name, tensor)
    }

    /// `y = x W^T + b`; without `b` where the checkpoint has none.
    pub(crate) fn linear(&mut self, x: &str, scope: &str) -> Result<String> {
        let name = format!("{scope}.weight");
        let weight = self.tensor(&name)?.f_detach()?.f_transpose(0, 1)?;
        let weight = self.graph.initializer(&name, weight)?;
        let product = self.graph.push(scope, "MatMul", &[x, &weight], &[]);
        let bias = format!("{scope}.bias");
        if !self.tensors.contains_key(&bias) {
            return Ok(product);
        }
        let bias = self.weight(&bias)?;
        Ok(self.graph.push(scope, "Add", &[&product, &bias], &[]))
    }

    pub(crate) fn layer_norm(&mut self, x: &str, scope: &str, eps: f64) -> Result<String> {
        let weight = self.weight(&format!("{scope}.weight"))?;
        let bias = self.weight(&format!("{scope}.bias"))?;
        let attributes = [("axis", Int(-1)), ("epsilon", Float(eps))];
        let inputs = [x, &weight, &bias];
        Ok(self
            .graph
            .push(scope, "LayerNormalization", &inputs, &attributes))
    }

    /// Of [N, C, ..] over C, with the statistics of training.
    pub(crate) fn batch_norm(&mut self, x: &str, scope: &str) -> Result<String> {
        let mut part = |name: &str| self.weight(&format!("{scope}.{name}"));
        let parts = [
            part("weight")?,
            part("bias")?,
            part("running_mean")?,
            part("running_var")?,
        ];
        let [weight, bias, mean, variance] = parts.each_ref().map(String::as_str);
        let inputs = [x, weight, bias, mean, variance];
        // torch.nn's default, which no configuration changes.
        let attributes = [("epsilon", Float(1e-5))];
        Ok(self
            .graph
            .push(scope, "BatchNormalization", &inputs, &attributes))
    }

    /// A square convolution; without bias where the checkpoint has none.
    pub(crate) fn convolution(
        &mut self,
        x: &str,
        scope: &str,
        stride: i64,
        padding: i64,
    ) -> Result<String> {
        let name = format!("{scope}.weight");
        let side = self.tensor(&name)?.size4()?.2;
        let weight = self.weight(&name)?;
        let bias = format!("{scope}.bias");
        let bias = match self.tensors.contains_key(&bias) {
            true => Some(self.weight(&bias)?),
            false => None,
        };
        let mut inputs = vec![x, weight.as_str()];
        inputs.extend(bias.as_deref());
        let attributes = [
            ("kernel_shape", Ints(vec![side; 2])),
            ("strides", Ints(vec![stride; 2])),
            ("pads", Ints(vec![padding; 4])),
        ];
        Ok(self.graph.push(scope, "Conv", &inputs, &attributes))
    }

    pub(crate) fn gelu(&mut self, x: &str, scope: &str) -> Result<String> {
        // Divided, not multiplied by the inverse: onnxruntime knows GELU by that.
        let root = self.graph.scalar(SQRT_2)?;
        let (one, half) = (self.graph.scalar(1.0)?, self.graph.scalar(0.5)?);
        let scaled = self.graph.push(scope, "Div", &[x, &root], &[]);
        let erf = self.graph.push(scope, "Erf", &[&scaled], &[]);
        let sum = self.graph.push(scope, "Add", &[&erf, &one], &[]);
        let product = self.graph.push(scope, "Mul", &[x, &sum], &[]);
        Ok(self.graph.push(scope, "Mul", &[&product, &half], &[]))
    }

    fn activation(&mut self, x: &str, scope: &str, activation: Activation) -> Result<String> {
        match activation {
            Activation::Gelu => self.gelu(x, scope),
            Activation::QuickGelu => {
                let factor = self.graph.scalar(QUICK_GELU)?;
                let scaled = self.graph.push(scope, "Mul", &[x, &factor], &[]);
                let gate = self.graph.push(scope, "Sigmoid", &[&scaled], &[]);
                Ok(self.graph.push(scope, "Mul", &[x, &gate], &[]))
            }
        }
    }

    /// A pre-norm block, [N, tokens, width] to the same.
    pub(crate) fn block(&mut self, x: &str, scope: &str, shape: Transformer) -> Result<String> {
        let names = shape.names;
        let at = |name: &str| format!("{scope}.{name}");
        let normed = self.layer_norm(x, &at(names.norm1), shape.eps)?;
        let query = self.linear(&normed, &at(names.query))?;
        let key = self.linear(&normed, &at(names.key))?;
        let value = self.linear(&normed, &at(names.value))?;
        let mixed = self.attention([&query, &key, &value], scope, shape)?;
        let branch = self.linear(&mixed, &at(names.output))?;
        let x = self.graph.push(scope, "Add", &[x, &branch], &[]);
        let normed = self.layer_norm(&x, &at(names.norm2), shape.eps)?;
        let inner = self.linear(&normed, &at(names.up))?;
        let inner = self.activation(&inner, &at(names.up), shape.activation)?;
        let branch = self.linear(&inner, &at(names.down))?;
        Ok(self.graph.push(scope, "Add", &[&x, &branch], &[]))
    }

    fn attention(
        &mut self,
        [query, key, value]: [&str; 3],
        scope: &str,
        shape: Transformer,
    ) -> Result<String> {
        let Transformer {
            width, heads, mask, ..
        } = shape;
        let size = width / heads;
        let apart = self.graph.integers(&[0, 0, heads, size])?;
        let together = self.graph.integers(&[0, 0, width])?;
        let scale = self.graph.scalar((size as f64).powf(-0.5))?;
        let mut split = |x: &str, order: [i64; 4]| {
            let split = self.graph.push(scope, "Reshape", &[x, &apart], &[]);
            self.graph
                .push(scope, "Transpose", &[&split], &[order_of(&order)])
        };
        let query = split(query, [0, 2, 1, 3]);
        let key = split(key, [0, 2, 3, 1]);
        let value = split(value, [0, 2, 1, 3]);
        let product = self.graph.push(scope, "MatMul", &[&query, &key], &[]);
        let mut scores = self.graph.push(scope, "Mul", &[&product, &scale], &[]);
        if let Some(mask) = mask {
            scores = self.graph.push(scope, "Add", &[&scores, mask], &[]);
        }
        let shares = self
            .graph
            .push(scope, "Softmax", &[&scores], &[("axis", Int(-1))]);
        let mixed = self.graph.push(scope, "MatMul", &[&shares, &value], &[]);
        let mixed = self
            .graph
            .push(scope, "Transpose", &[&mixed], &[order_of(&[0, 2, 1, 3])]);
        Ok(self.graph.push(scope, "Reshape", &[&mixed, &together], &[]))
    }

    /// [N, channels, side, side] to [N, 1 + patches, width]: a convolution, and `class`, a weight of `width` numbers, before it.
    pub(crate) fn patches(
        &mut self,
        pixels: &str,
        scope: &str,
        patch: i64,
        class: &str,
    ) -> Result<String> {
        let map = self.convolution(pixels, scope, patch, 0)?;
        let width = self.tensor(&format!("{scope}.weight"))?.size4()?.0;
        let flat = self.graph.integers(&[0, width, -1])?;
        let flat = self.graph.push(scope, "Reshape", &[&map, &flat], &[]);
        let patches = self
            .graph
            .push(scope, "Transpose", &[&flat], &[order_of(&[0, 2, 1])]);
        let batch = self.graph.push(
            scope,
            "Shape",
            &[pixels],
            &[("start", Int(0)), ("end", Int(1))],
        );
        let rest = self.graph.integers(&[1, width])?;
        let shape = self
            .graph
            .push(scope, "Concat", &[&batch, &rest], &[("axis", Int(0))]);
        let class = self.weight(class)?;
        let class = self.graph.push(scope, "Expand", &[&class, &shape], &[]);
        Ok(self
            .graph
            .push(scope, "Concat", &[&class, &patches], &[("axis", Int(1))]))
    }

    /// The first token of [N, tokens, width]: [N, width].
    pub(crate) fn first_token(&mut self, x: &str, scope: &str) -> Result<String> {
        let first = self.graph.index(0)?;
        Ok(self
            .graph
            .push(scope, "Gather", &[x, &first], &[("axis", Int(1))]))
    }

    /// Rows of length one.
    pub(crate) fn unit_rows(&mut self, x: &str, scope: &str) -> String {
        let attributes = [("axes", Ints(vec![-1])), ("keepdims", Int(1))];
        let length = self.graph.push(scope, "ReduceL2", &[x], &attributes);
        self.graph.push(scope, "Div", &[x, &length], &[])
    }
}

fn order_of(order: &[i64]) -> (&'static str, Attribute) {
    ("perm", Ints(order.to_vec()))
}
