//! A graph as a file: opset 17, IR version 8; weights beside it where protobuf's limit of 2 GB would be passed.

use crate::bytes;
use crate::error::{ExportError, Result};
use crate::file::Whole;
use crate::onnx::data_type;
use crate::onnx::graph::{Attribute, Graph, Node, Port};
use crate::onnx::proto::{
    AttributeProto, Dimension, EXTERNAL, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    Side, StringStringEntryProto, TensorProto, TensorShapeProto, TensorType, TypeProto,
    ValueInfoProto, attribute_type,
};
use prost::Message as _;
use saga_models::tch::Tensor;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The first IR version that knows opset 17.
const IR_VERSION: i64 = 8;
pub(crate) const OPSET: i64 = 17;
/// Bytes of weights that stay in the file itself; the rest of protobuf's 2 GB is for the nodes.
pub(crate) const INSIDE: usize = 2_000_000_000;
/// What weights beside the file begin at multiples of, so that they can be mapped into memory.
const ALIGNMENT: usize = 4096;
/// Smaller weights always stay inside: shapes are read before anything is mapped.
const SMALL: usize = 1024;

/// What becomes `path` and, where the weights have more than `inside` bytes, `{path}.data`.
pub(crate) fn write(
    graph: &Graph,
    metadata: Vec<(String, String)>,
    path: &Path,
    inside: usize,
) -> Result<Vec<Whole>> {
    let size = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    let total: usize = graph.initializers.values().map(size).sum();
    let mut written = Vec::new();
    let initializer = match total > inside {
        false => {
            let tensors = graph.initializers.iter();
            tensors
                .map(|(name, tensor)| inline(name, tensor))
                .collect::<Result<_>>()?
        }
        true => {
            let beside = beside(path);
            let (data, tensors) = external(graph, &beside)?;
            written.push(data);
            tensors
        }
    };
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "saga".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: metadata
            .into_iter()
            .map(|(key, value)| entry(&key, value))
            .collect(),
        graph: Some(GraphProto {
            node: graph.nodes.iter().map(node).collect(),
            name: graph.name.clone(),
            initializer,
            input: graph.inputs.iter().map(port).collect::<Result<_>>()?,
            output: graph.outputs.iter().map(port).collect::<Result<_>>()?,
        }),
    };
    let encoded = model.encode_to_vec();
    let whole = Whole::new(path, |file| {
        file.write_all(&encoded).map_err(ExportError::io(path))
    })?;
    written.insert(0, whole);
    Ok(written)
}

/// `model.onnx.data`, where onnxruntime looks for it.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".data");
    path.with_file_name(name)
}

/// Writes the large weights to a file of their own; gives what was written, and what stays.
fn external(graph: &Graph, file: &Path) -> Result<(Whole, Vec<TensorProto>)> {
    let location = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut protos = Vec::new();
    let written = Whole::new(file, |sink| {
        let mut sink = BufWriter::new(sink);
        let mut offset: usize = 0;
        for (name, tensor) in &graph.initializers {
            let mut proto = inline(name, tensor)?;
            if let Some(data) = proto.raw_data.take_if(|data| data.len() >= SMALL) {
                let start = offset.next_multiple_of(ALIGNMENT);
                let padding = vec![0; start - offset];
                let padded = sink
                    .write_all(&padding)
                    .and_then(|()| sink.write_all(&data));
                padded.map_err(ExportError::io(file))?;
                offset = start + data.len();
                proto.data_location = EXTERNAL;
                proto.external_data = vec![
                    entry("location", location.clone()),
                    entry("offset", start.to_string()),
                    entry("length", data.len().to_string()),
                ];
            }
            protos.push(proto);
        }
        sink.flush().map_err(ExportError::io(file))
    })?;
    Ok((written, protos))
}

fn inline(name: &str, tensor: &Tensor) -> Result<TensorProto> {
    Ok(TensorProto {
        dims: tensor.size(),
        data_type: data_type(name, tensor.f_kind()?)?,
        name: name.to_owned(),
        raw_data: Some(bytes::of(tensor)?),
        ..TensorProto::default()
    })
}

fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto {
        key: key.to_owned(),
        value,
    }
}

fn node(node: &Node) -> NodeProto {
    let attribute = |(name, value): (&&str, &Attribute)| {
        let bare = AttributeProto {
            name: (*name).to_owned(),
            ..AttributeProto::default()
        };
        match value.clone() {
            Attribute::Int(i) => AttributeProto {
                i,
                r#type: attribute_type::INT,
                ..bare
            },
            Attribute::Float(f) => AttributeProto {
                f: f as f32,
                r#type: attribute_type::FLOAT,
                ..bare
            },
            Attribute::Ints(ints) => AttributeProto {
                ints,
                r#type: attribute_type::INTS,
                ..bare
            },
        }
    };
    NodeProto {
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        name: node.outputs.first().cloned().unwrap_or_default(),
        op_type: node.op.to_owned(),
        attribute: node.attributes.iter().map(attribute).collect(),
    }
}

fn port(port: &Port) -> Result<ValueInfoProto> {
    let dim = |side: &Side| Dimension {
        value: Some(side.clone()),
    };
    let tensor_type = TensorType {
        elem_type: data_type(&port.name, port.kind)?,
        shape: Some(TensorShapeProto {
            dim: port.shape.iter().map(dim).collect(),
        }),
    };
    Ok(ValueInfoProto {
        name: port.name.clone(),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor_type),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Written;
    use saga_models::tch::Kind;

    fn named(files: Vec<Whole>) -> Vec<Written> {
        files
            .into_iter()
            .map(|file| file.named().unwrap())
            .collect()
    }

    #[test]
    fn weights_beside_the_file_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let mut graph = Graph::new("test");
        let large: Vec<f32> = (0..2000_u16).map(f32::from).collect();
        for name in ["a", "b"] {
            graph.initializer(name, Tensor::from_slice(&large)).unwrap();
        }
        graph.integers(&[0, -1]).unwrap();
        let files = named(write(&graph, Vec::new(), &path, 1000).unwrap());
        let sizes = [path.clone(), beside(&path)].map(|path| path.metadata().unwrap().len());
        assert_eq!(
            files.iter().map(|file| file.bytes).collect::<Vec<_>>(),
            sizes
        );
        let model = ModelProto::decode(std::fs::read(&path).unwrap().as_slice()).unwrap();
        let data = std::fs::read(beside(&path)).unwrap();
        let tensors = model.graph.unwrap().initializer;
        assert_eq!(
            tensors
                .iter()
                .filter(|tensor| tensor.raw_data.is_some())
                .count(),
            1
        );
        for tensor in tensors
            .iter()
            .filter(|tensor| tensor.data_location == EXTERNAL)
        {
            let number = |index: usize| tensor.external_data[index].value.parse::<usize>().unwrap();
            assert_eq!(tensor.external_data[0].value, "model.onnx.data");
            assert_eq!(number(1) % ALIGNMENT, 0);
            let bytes = &data[number(1)..][..number(2)];
            let found = Tensor::from_data_size(bytes, &tensor.dims, Kind::Float);
            assert_eq!(Vec::<f32>::try_from(found).unwrap(), large);
        }
        // Under the limit all is in one file.
        assert_eq!(write(&graph, Vec::new(), &path, INSIDE).unwrap().len(), 1);
    }
}
