//! A tensor as bytes, between a reader of files and what is done with it.

use safetensors::Dtype;

/// A tensor as a file holds it: contiguous, row-major, little-endian.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub dtype: Dtype,
    /// Empty for a scalar; a side of zero leaves no data.
    pub shape: Vec<usize>,
    /// As many elements as the sides multiply to.
    pub data: Vec<u8>,
}
