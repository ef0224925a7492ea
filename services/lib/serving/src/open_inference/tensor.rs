//! Tensors of the Open Inference Protocol: inputs that fit what a model takes, outputs as they were asked for.

use prost::bytes::Bytes;
use saga_chassis::status::invalid_argument;
use saga_proto::inference::{
    ModelInferRequest, model_infer_request::InferInputTensor,
    model_infer_response::InferOutputTensor, model_metadata_response::TensorMetadata,
};
use tonic::Status;

use super::elements::{Datatype, Elements};

/// What a model takes or gives under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: &'static str,
    pub datatype: Datatype,
    /// -1: any size.
    pub shape: Vec<i64>,
}

impl TensorSpec {
    pub(super) fn metadata(&self) -> TensorMetadata {
        TensorMetadata {
            name: self.name.to_owned(),
            datatype: self.datatype.as_str().to_owned(),
            shape: self.shape.clone(),
        }
    }
}

/// A tensor whose elements fill its shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub name: &'static str,
    pub shape: Vec<i64>,
    pub elements: Elements,
}

impl Tensor {
    /// Rows of equal length as `[N, length]`.
    #[must_use]
    pub fn rows(name: &'static str, rows: Vec<Vec<f32>>) -> Self {
        let width = rows.first().map_or(0, Vec::len);
        Self {
            name,
            shape: vec![rows.len() as i64, width as i64],
            elements: Elements::Fp32(rows.into_iter().flatten().collect()),
        }
    }
}

/// The inputs of a request, checked against what the model takes; whether they came raw.
///
/// # Errors
/// INVALID_ARGUMENT naming the tensor: unknown, given twice, of another type or shape, or with contents that do not fill it.
pub(super) fn inputs(
    request: &mut ModelInferRequest,
    specs: &[TensorSpec],
    max_rows: usize,
) -> Result<(Vec<Tensor>, bool), Status> {
    let raw = std::mem::take(&mut request.raw_input_contents);
    let given = std::mem::take(&mut request.inputs);
    let is_raw = !raw.is_empty();
    if is_raw && raw.len() != given.len() {
        let why = format!("has {} entries for {} inputs", raw.len(), given.len());
        return Err(invalid_argument("raw_input_contents", why));
    }
    let mut raw = raw.into_iter();
    let mut tensors: Vec<Tensor> = Vec::with_capacity(given.len());
    for (index, input) in given.into_iter().enumerate() {
        let tensor = one(index, input, raw.next(), specs, max_rows)?;
        if tensors.iter().any(|other| other.name == tensor.name) {
            let why = format!("{:?} is given twice", tensor.name);
            return Err(invalid_argument(format!("inputs[{index}].name"), why));
        }
        tensors.push(tensor);
    }
    Ok((tensors, is_raw))
}

fn one(
    index: usize,
    input: InferInputTensor,
    raw: Option<Bytes>,
    specs: &[TensorSpec],
    max_rows: usize,
) -> Result<Tensor, Status> {
    let field = |name: &str| format!("inputs[{index}].{name}");
    let spec = specs.iter().find(|spec| spec.name == input.name);
    let spec = spec.ok_or_else(|| {
        let names: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
        let why = format!(
            "is {:?}; the model takes {}",
            input.name,
            names.join(" or ")
        );
        invalid_argument(field("name"), why)
    })?;
    if input.datatype != spec.datatype.as_str() {
        let why = format!(
            "is {:?}; {} is {}",
            input.datatype,
            spec.name,
            spec.datatype.as_str()
        );
        return Err(invalid_argument(field("datatype"), why));
    }
    let expected = size(&input.shape, &spec.shape, max_rows).ok_or_else(|| {
        let why = format!(
            "is {:?}; {} is {:?} with 1 to {max_rows} rows",
            input.shape, spec.name, spec.shape
        );
        invalid_argument(field("shape"), why)
    })?;
    let elements = match raw {
        Some(raw) => Elements::from_raw(spec.datatype, raw),
        None => Some(Elements::from_contents(
            spec.datatype,
            input.contents.unwrap_or_default(),
        )),
    };
    let elements = elements.filter(|elements| elements.len() == expected);
    let elements = elements.ok_or_else(|| {
        let why = format!(
            "do not hold the {expected} {} elements of shape {:?}",
            spec.datatype.as_str(),
            input.shape
        );
        invalid_argument(field("contents"), why)
    })?;
    Ok(Tensor {
        name: spec.name,
        shape: input.shape,
        elements,
    })
}

/// Elements of `shape` where it is one of those that `spec` allows; its first dimension counts rows.
fn size(shape: &[i64], spec: &[i64], max_rows: usize) -> Option<usize> {
    let fits = |(&found, &wanted): (&i64, &i64)| found == wanted || (wanted == -1 && found >= 1);
    let rows = usize::try_from(*shape.first()?).ok()?;
    if shape.len() != spec.len() || !shape.iter().zip(spec).all(fits) || rows > max_rows {
        return None;
    }
    shape.iter().try_fold(1usize, |size, &dimension| {
        size.checked_mul(usize::try_from(dimension).ok()?)
    })
}

/// An output as the answer holds it: raw, or with its contents.
pub(super) fn output(tensor: Tensor, raw: bool) -> (InferOutputTensor, Option<Bytes>) {
    let Tensor {
        name,
        shape,
        elements,
    } = tensor;
    let datatype = elements.datatype().as_str().to_owned();
    let (contents, bytes) = if raw {
        (None, Some(elements.into_raw()))
    } else {
        (Some(elements.into_contents()), None)
    };
    let output = InferOutputTensor {
        name: name.to_owned(),
        datatype,
        shape,
        contents,
        ..InferOutputTensor::default()
    };
    (output, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> Vec<TensorSpec> {
        vec![
            TensorSpec {
                name: "pixels",
                datatype: Datatype::Fp32,
                shape: vec![-1, 2],
            },
            TensorSpec {
                name: "text",
                datatype: Datatype::Bytes,
                shape: vec![-1],
            },
        ]
    }

    fn request(name: &str, datatype: &str, shape: &[i64], raw: &[u8]) -> ModelInferRequest {
        ModelInferRequest {
            inputs: vec![InferInputTensor {
                name: name.into(),
                datatype: datatype.into(),
                shape: shape.to_vec(),
                ..InferInputTensor::default()
            }],
            raw_input_contents: vec![Bytes::copy_from_slice(raw)],
            ..ModelInferRequest::default()
        }
    }

    fn refusal(mut request: ModelInferRequest) -> String {
        inputs(&mut request, &specs(), 4)
            .unwrap_err()
            .message()
            .to_owned()
    }

    #[test]
    fn raw_and_typed_contents_give_the_same_tensor() {
        let elements = Elements::Fp32(vec![1.0, -2.5]);
        let mut raw = request("pixels", "FP32", &[1, 2], &elements.clone().into_raw());
        let mut typed = request("pixels", "FP32", &[1, 2], &[]);
        typed.raw_input_contents.clear();
        typed.inputs[0].contents = Some(elements.clone().into_contents());
        let (from_raw, is_raw) = inputs(&mut raw, &specs(), 4).unwrap();
        let (from_typed, is_typed_raw) = inputs(&mut typed, &specs(), 4).unwrap();
        assert_eq!(from_raw, from_typed);
        assert_eq!((is_raw, is_typed_raw), (true, false));
        assert_eq!(from_raw[0].elements, elements);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cases = [
            (request("pixel", "FP32", &[1, 2], &[0; 8]), "inputs[0].name"),
            (
                request("pixels", "FP16", &[1, 2], &[0; 8]),
                "inputs[0].datatype",
            ),
            (
                request("pixels", "FP32", &[1, 3], &[0; 12]),
                "inputs[0].shape",
            ),
            (request("pixels", "FP32", &[0, 2], &[]), "inputs[0].shape"),
            (
                request("pixels", "FP32", &[5, 2], &[0; 40]),
                "inputs[0].shape",
            ),
            (
                request("pixels", "FP32", &[-1, 2], &[0; 8]),
                "inputs[0].shape",
            ),
            (
                request("pixels", "FP32", &[1, 2], &[0; 7]),
                "inputs[0].contents",
            ),
            (
                request("pixels", "FP32", &[2, 2], &[0; 8]),
                "inputs[0].contents",
            ),
            (
                request("text", "BYTES", &[1], &[9, 0, 0, 0, 1]),
                "inputs[0].contents",
            ),
        ];
        for (request, field) in cases {
            let message = refusal(request);
            assert!(message.starts_with(field), "{message}");
        }
        let mut twice = request("pixels", "FP32", &[1, 2], &[0; 8]);
        twice.inputs.push(twice.inputs[0].clone());
        twice.raw_input_contents.push(Bytes::from_static(&[0; 8]));
        assert!(refusal(twice).contains("twice"));
        let mut too_few = request("pixels", "FP32", &[1, 2], &[0; 8]);
        too_few.inputs.push(too_few.inputs[0].clone());
        assert!(refusal(too_few).starts_with("raw_input_contents"));
    }
}
