//! Tensors of the Open Inference Protocol: contents that fit their shape and type, typed or raw.

use prost::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use saga_chassis::status::invalid_argument;
use saga_gate::{EncodedImage, check_image};
use saga_proto::inference::{
    InferTensorContents, ModelInferRequest, model_infer_request::InferInputTensor,
    model_infer_response::InferOutputTensor, model_metadata_response::TensorMetadata,
};
use saga_proto::r#type::v1::Image;
use tonic::Status;

/// Element types that models here take or give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    Fp32,
    Int64,
    /// Strings of bytes: encoded images, UTF-8 texts.
    Bytes,
}

impl Datatype {
    /// The protocol's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fp32 => "FP32",
            Self::Int64 => "INT64",
            Self::Bytes => "BYTES",
        }
    }
}

/// What a model takes or gives under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: &'static str,
    pub datatype: Datatype,
    /// -1: any size.
    pub shape: Vec<i64>,
}

impl TensorSpec {
    /// Images, as pixel values or as encoded files.
    #[must_use]
    pub fn images(height: u32, width: u32) -> Vec<Self> {
        let pixel_values = Self {
            name: "pixel_values",
            datatype: Datatype::Fp32,
            shape: vec![-1, 3, height.into(), width.into()],
        };
        let image = Self {
            name: "image",
            datatype: Datatype::Bytes,
            shape: vec![-1],
        };
        vec![pixel_values, image]
    }

    pub(super) fn metadata(&self) -> TensorMetadata {
        TensorMetadata {
            name: self.name.to_owned(),
            datatype: self.datatype.as_str().to_owned(),
            shape: self.shape.clone(),
        }
    }
}

/// Elements in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    Fp32(Vec<f32>),
    Int64(Vec<i64>),
    Bytes(Vec<Bytes>),
}

impl Elements {
    fn len(&self) -> usize {
        match self {
            Self::Fp32(elements) => elements.len(),
            Self::Int64(elements) => elements.len(),
            Self::Bytes(elements) => elements.len(),
        }
    }

    fn datatype(&self) -> Datatype {
        match self {
            Self::Fp32(_) => Datatype::Fp32,
            Self::Int64(_) => Datatype::Int64,
            Self::Bytes(_) => Datatype::Bytes,
        }
    }

    /// From little-endian bytes; None where they do not divide into elements.
    fn from_raw(datatype: Datatype, mut raw: Bytes) -> Option<Self> {
        match datatype {
            Datatype::Fp32 => {
                let (elements, rest) = raw.as_chunks::<4>();
                let elements = elements.iter().copied().map(f32::from_le_bytes).collect();
                rest.is_empty().then_some(Self::Fp32(elements))
            }
            Datatype::Int64 => {
                let (elements, rest) = raw.as_chunks::<8>();
                let elements = elements.iter().copied().map(i64::from_le_bytes).collect();
                rest.is_empty().then_some(Self::Int64(elements))
            }
            Datatype::Bytes => {
                let mut elements = Vec::new();
                while raw.has_remaining() {
                    let length = raw.try_get_u32_le().ok()? as usize;
                    if length > raw.len() {
                        return None;
                    }
                    elements.push(raw.split_to(length));
                }
                Some(Self::Bytes(elements))
            }
        }
    }

    fn into_raw(self) -> Bytes {
        match self {
            Self::Fp32(elements) => elements.into_iter().flat_map(f32::to_le_bytes).collect(),
            Self::Int64(elements) => elements.into_iter().flat_map(i64::to_le_bytes).collect(),
            Self::Bytes(elements) => {
                let mut raw = BytesMut::new();
                for element in elements {
                    // Far below 4 GiB: the message that brings it is.
                    raw.put_u32_le(element.len() as u32);
                    raw.put(element);
                }
                raw.freeze()
            }
        }
    }

    fn from_contents(datatype: Datatype, contents: InferTensorContents) -> Self {
        match datatype {
            Datatype::Fp32 => Self::Fp32(contents.fp32_contents),
            Datatype::Int64 => Self::Int64(contents.int64_contents),
            Datatype::Bytes => Self::Bytes(contents.bytes_contents),
        }
    }

    fn into_contents(self) -> InferTensorContents {
        let mut contents = InferTensorContents::default();
        match self {
            Self::Fp32(elements) => contents.fp32_contents = elements,
            Self::Int64(elements) => contents.int64_contents = elements,
            Self::Bytes(elements) => contents.bytes_contents = elements,
        }
        contents
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

/// The rows of a tensor of images `[N, 3, H, W]`.
///
/// # Errors
/// INVALID_ARGUMENT for a value that is not finite.
pub fn pixel_rows(pixels: &[f32], shape: &[i64]) -> Result<Vec<Vec<f32>>, Status> {
    if let Some(at) = pixels.iter().position(|value| !value.is_finite()) {
        let why = format!("element {at} is not finite; send numbers only");
        return Err(invalid_argument("inputs[0].contents", why));
    }
    let rows = shape.first().map_or(1, |&rows| rows.max(1) as usize);
    let width = (pixels.len() / rows).max(1);
    Ok(pixels.chunks_exact(width).map(<[f32]>::to_vec).collect())
}

/// Encoded images, each with the name of its field.
///
/// # Errors
/// As [`check_image`].
pub fn encoded_images(
    files: Vec<Bytes>,
    max_bytes: usize,
) -> Result<Vec<(String, EncodedImage)>, Status> {
    let checked = |(index, data): (usize, Bytes)| {
        let field = format!("inputs[0].contents[{index}]");
        let image = Image {
            data,
            blake3: String::new(),
        };
        let image = check_image(&field, Some(image), max_bytes)?;
        Ok((field, image))
    };
    files.into_iter().enumerate().map(checked).collect()
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
    fn strings_of_bytes_are_read_back() {
        let words = Elements::Bytes(vec![Bytes::from_static(b"one"), Bytes::new()]);
        let raw = words.clone().into_raw();
        assert_eq!(
            Elements::from_raw(Datatype::Bytes, raw.clone()),
            Some(words)
        );
        assert_eq!(Elements::from_raw(Datatype::Bytes, raw.slice(..5)), None);
        assert_eq!(
            Elements::from_raw(Datatype::Bytes, Bytes::from_static(&[255; 6])),
            None
        );
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
