//! An ONNX graph in the making: nodes in the order of computation, weights as tensors, and one space of names.

use crate::error::{ExportError, Result};
use crate::onnx::proto::Side;
use saga_models::tch::{Device, Kind, TchError, Tensor};
use std::collections::{BTreeMap, HashSet};

/// The value of a node's attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Attribute {
    Int(i64),
    Float(f64),
    Ints(Vec<i64>),
}

/// One operator of opset 17.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) op: &'static str,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: BTreeMap<&'static str, Attribute>,
}

/// What goes in or comes out.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) shape: Vec<Side>,
}

/// A graph; names of weights are the checkpoint's, names of what is computed are `{scope}/{operator}`.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) initializers: BTreeMap<String, Tensor>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    taken: HashSet<String>,
}

impl Graph {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// The same, whose weights share their storage with this one's.
    pub(crate) fn shallow_clone(&self) -> Self {
        let weights = self.initializers.iter();
        Self {
            name: self.name.clone(),
            nodes: self.nodes.clone(),
            initializers: weights
                .map(|(name, weight)| (name.clone(), weight.shallow_clone()))
                .collect(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            taken: self.taken.clone(),
        }
    }

    /// # Errors
    /// [`ExportError::NameClash`], as for everything that brings its name along.
    pub(crate) fn input(&mut self, name: &str, kind: Kind, shape: Vec<Side>) -> Result<String> {
        let name = self.take(name.to_owned())?;
        self.inputs.push(Port {
            name: name.clone(),
            kind,
            shape,
        });
        Ok(name)
    }

    /// Gives what `value` stands for its name as an output. Nothing else may use `value`.
    pub(crate) fn output(&mut self, value: &str, name: &str, shape: Vec<Side>) -> Result<()> {
        let name = self.take(name.to_owned())?;
        for output in self.nodes.iter_mut().flat_map(|node| &mut node.outputs) {
            if output == value {
                output.clone_from(&name);
            }
        }
        self.outputs.push(Port {
            name,
            kind: Kind::Float,
            shape,
        });
        Ok(())
    }

    /// A weight.
    pub(crate) fn initializer(&mut self, name: &str, tensor: Tensor) -> Result<String> {
        let name = self.take(name.to_owned())?;
        self.initializers.insert(name.clone(), tensor);
        Ok(name)
    }

    /// A number that the graph needs, kept once.
    pub(crate) fn scalar(&mut self, value: f64) -> Result<String> {
        self.shared(format!("constant/{value}"), || {
            Tensor::f_scalar_tensor(value, (Kind::Float, Device::Cpu))
        })
    }

    /// Integers that the graph needs, a vector, kept once.
    pub(crate) fn integers(&mut self, values: &[i64]) -> Result<String> {
        let text: Vec<String> = values.iter().map(i64::to_string).collect();
        self.shared(format!("constant/[{}]", text.join(",")), || {
            Tensor::f_from_slice(values)
        })
    }

    /// A number that picks an element, kept once.
    pub(crate) fn index(&mut self, value: i64) -> Result<String> {
        self.shared(format!("constant/{value}i"), || {
            Tensor::f_scalar_tensor(value, (Kind::Int64, Device::Cpu))
        })
    }

    fn shared(
        &mut self,
        name: String,
        make: impl FnOnce() -> std::result::Result<Tensor, TchError>,
    ) -> Result<String> {
        match self.initializers.contains_key(&name) {
            true => Ok(name),
            false => self.initializer(&name, make()?),
        }
    }

    /// Computes one value; gives its name.
    pub(crate) fn push(
        &mut self,
        scope: &str,
        op: &'static str,
        inputs: &[&str],
        attributes: &[(&'static str, Attribute)],
    ) -> String {
        let output = self.free(&format!("{scope}/{op}"));
        self.nodes.push(Node {
            op,
            inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
            outputs: vec![output.clone()],
            attributes: attributes.iter().cloned().collect(),
        });
        output
    }

    /// A name that begins so and that nothing has.
    pub(crate) fn free(&mut self, name: &str) -> String {
        let numbered = (1_u32..).map(|number| format!("{name}_{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let free = names.find(|name| self.taken.insert(name.clone()));
        free.unwrap_or_default()
    }

    fn take(&mut self, name: String) -> Result<String> {
        match self.taken.insert(name.clone()) {
            true => Ok(name),
            false => Err(ExportError::NameClash { name }),
        }
    }

    /// How often each value is asked for.
    pub(crate) fn uses(&self) -> BTreeMap<&str, usize> {
        let mut uses = BTreeMap::new();
        let asked = self.nodes.iter().flat_map(|node| &node.inputs);
        for name in asked.chain(self.outputs.iter().map(|output| &output.name)) {
            *uses.entry(name.as_str()).or_default() += 1;
        }
        uses
    }

    /// Drops weights that nothing asks for any more.
    pub(crate) fn drop_unused(&mut self) {
        let used: HashSet<String> = self.uses().into_keys().map(str::to_owned).collect();
        self.initializers.retain(|name, _| used.contains(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_thing() {
        let mut graph = Graph::new("test");
        let side = || vec![Side::Any("batch".into())];
        graph.input("pixel_values", Kind::Float, side()).unwrap();
        let zero = || Tensor::from_slice(&[0.0_f32]);
        graph.initializer("logits", zero()).unwrap();
        let clash = |result: Result<String>| match result {
            Err(ExportError::NameClash { name }) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(clash(graph.initializer("logits", zero())), "logits");
        let weight = graph.initializer("pixel_values", zero());
        assert_eq!(clash(weight), "pixel_values");
        let value = graph.push("head", "Relu", &["pixel_values"], &[]);
        let renamed = graph.output(&value, "logits", side());
        assert_eq!(clash(renamed.map(|()| String::new())), "logits");
    }

    #[test]
    fn computed_values_find_free_names_and_constants_are_kept_once() {
        let mut graph = Graph::new("test");
        graph
            .initializer("a/Relu", Tensor::from_slice(&[0.0_f32]))
            .unwrap();
        let names: Vec<_> = (0..2)
            .map(|_| graph.push("a", "Relu", &["x"], &[]))
            .collect();
        assert_eq!(names, ["a/Relu_1", "a/Relu_2"]);
        assert_eq!(graph.scalar(0.5).unwrap(), graph.scalar(0.5).unwrap());
        assert_eq!(graph.initializers.len(), 2);
        graph.drop_unused();
        assert!(graph.initializers.is_empty());
    }
}
