//! Elements of tensors of the Open Inference Protocol, typed or as raw bytes.

use prost::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use saga_proto::inference::InferTensorContents;

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

/// Elements in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    Fp32(Vec<f32>),
    Int64(Vec<i64>),
    Bytes(Vec<Bytes>),
}

impl Elements {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Fp32(elements) => elements.len(),
            Self::Int64(elements) => elements.len(),
            Self::Bytes(elements) => elements.len(),
        }
    }

    pub(super) fn datatype(&self) -> Datatype {
        match self {
            Self::Fp32(_) => Datatype::Fp32,
            Self::Int64(_) => Datatype::Int64,
            Self::Bytes(_) => Datatype::Bytes,
        }
    }

    /// From little-endian bytes; None where they do not divide into elements.
    pub(super) fn from_raw(datatype: Datatype, mut raw: Bytes) -> Option<Self> {
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

    pub(super) fn into_raw(self) -> Bytes {
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

    pub(super) fn from_contents(datatype: Datatype, contents: InferTensorContents) -> Self {
        match datatype {
            Datatype::Fp32 => Self::Fp32(contents.fp32_contents),
            Datatype::Int64 => Self::Int64(contents.int64_contents),
            Datatype::Bytes => Self::Bytes(contents.bytes_contents),
        }
    }

    pub(super) fn into_contents(self) -> InferTensorContents {
        let mut contents = InferTensorContents::default();
        match self {
            Self::Fp32(elements) => contents.fp32_contents = elements,
            Self::Int64(elements) => contents.int64_contents = elements,
            Self::Bytes(elements) => contents.bytes_contents = elements,
        }
        contents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
