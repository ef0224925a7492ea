//! Where a tensor's elements lie in its storage: checked once, then trusted to gather them.

use super::value::{Heap, Storage, Tensor, Value};
use safetensors::Dtype;

/// As many dimensions as PyTorch's own loops take.
const MOST_DIMENSIONS: usize = 64;

/// A view all of whose elements lie within the storage that it was checked against.
#[derive(Debug)]
pub struct Layout {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Elements between neighbours along each dimension; 0 where there are no neighbours.
    strides: Vec<usize>,
    /// Elements of the storage before the first one.
    offset: usize,
    count: usize,
}

impl Layout {
    pub fn new(tensor: Tensor, storage: &Storage, heap: &Heap) -> Result<Self, &'static str> {
        let shape = lengths(heap.sequence(tensor.sizes))?;
        let mut strides = lengths(heap.sequence(tensor.strides))?;
        if shape.len() != strides.len() {
            return Err("as many strides as sizes are needed");
        }
        for (stride, &size) in strides.iter_mut().zip(&shape) {
            if size <= 1 {
                *stride = 0;
            }
        }
        let offset = usize::try_from(tensor.offset).map_err(|_| "a negative offset")?;
        let count = product(&shape).ok_or("more elements than can be counted")?;
        let last = shape
            .iter()
            .zip(&strides)
            .try_fold(offset, |last, (&size, &stride)| {
                last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
            });
        if count > 0 && last.is_none_or(|last| last >= storage.count) {
            return Err("it reaches beyond its storage");
        }
        Ok(Self {
            dtype: storage.dtype,
            shape,
            strides,
            offset,
            count,
        })
    }

    /// Bytes of the tensor, none where they cannot be counted.
    pub fn size(&self) -> Option<usize> {
        self.count.checked_mul(element(self.dtype))
    }

    /// Whether the elements lie one after another, as they are stored.
    fn contiguous(&self) -> bool {
        let mut expected = 1_usize;
        self.shape
            .iter()
            .zip(&self.strides)
            .rev()
            .all(|(&size, &stride)| {
                let fits = size <= 1 || stride == expected;
                expected = expected.saturating_mul(size);
                fits
            })
    }

    /// The tensor's bytes in row-major order; takes the storage's where they are the same. None where `storage` is
    /// shorter than what the layout was checked against.
    pub fn gather(&self, storage: &mut Vec<u8>, last_use: bool) -> Option<Vec<u8>> {
        let size = self.size()?;
        if size == 0 {
            return Some(Vec::new());
        }
        if !self.contiguous() {
            return self.gather_strided(storage, size);
        }
        if last_use && size == storage.len() {
            return Some(std::mem::take(storage));
        }
        let start = self.offset.checked_mul(element(self.dtype))?;
        let end = start.checked_add(size)?;
        storage.get(start..end).map(<[u8]>::to_vec)
    }

    fn gather_strided(&self, storage: &[u8], size: usize) -> Option<Vec<u8>> {
        let element = element(self.dtype);
        let (&row, sizes) = self.shape.split_last()?;
        let (&step, strides) = self.strides.split_last()?;
        let mut data = Vec::with_capacity(size);
        let mut index = vec![0; sizes.len()];
        let mut start = self.offset;
        loop {
            if step == 1 {
                let from = start.checked_mul(element)?;
                data.extend_from_slice(
                    storage.get(from..from.checked_add(row.checked_mul(element)?)?)?,
                );
            } else {
                for column in 0..row {
                    let from = start
                        .checked_add(column.checked_mul(step)?)?
                        .checked_mul(element)?;
                    data.extend_from_slice(storage.get(from..from.checked_add(element)?)?);
                }
            }
            match advance(&mut index, sizes, strides, start) {
                Some(next) => start = next,
                None => return Some(data),
            }
        }
    }
}

/// Where the next row starts, if there is one.
fn advance(
    index: &mut [usize],
    sizes: &[usize],
    strides: &[usize],
    mut start: usize,
) -> Option<usize> {
    for ((place, &size), &stride) in index.iter_mut().zip(sizes).zip(strides).rev() {
        *place += 1;
        if *place < size {
            return start.checked_add(stride);
        }
        *place = 0;
        start = start.checked_sub(size.checked_sub(1)?.checked_mul(stride)?)?;
    }
    None
}

/// Bytes of an element.
pub fn element(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// Number of elements. A side of zero leaves none, however long the others are.
fn product(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(1_usize, |count, &side| count.checked_mul(side))
}

fn lengths(values: &[Value]) -> Result<Vec<usize>, &'static str> {
    if values.len() > MOST_DIMENSIONS {
        return Err("more than 64 dimensions");
    }
    let length = |value: &Value| match *value {
        Value::Int(length) => usize::try_from(length).ok(),
        _ => None,
    };
    let lengths: Option<Vec<usize>> = values.iter().map(length).collect();
    lengths.ok_or("sizes and strides must be whole numbers from zero on")
}
