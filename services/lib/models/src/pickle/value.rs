//! What a pickle is made into: small values, and a heap of what they refer to.
//!
//! A value names its container by its place on the heap, so that a list which holds itself is as harmless as any:
//! nothing here recurses, on use or on drop.

use super::globals::Global;
use safetensors::Dtype;
use std::collections::HashMap;

#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    None,
    Int(i64),
    /// An integer beyond 64 bits: two's complement, little-endian.
    Long(&'a [u8]),
    Str(&'a str),
    Global(Global),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
    /// Anything that no weight is made of; the text names it.
    Plain(&'static str),
}

impl Value<'_> {
    /// With an article, for messages.
    pub fn describe(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Int(_) | Self::Long(_) => "an int",
            Self::Str(_) => "a string",
            Self::Global(_) => "a type or function",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Plain(what) => what,
        }
    }
}

/// The elements that one tensor or several are views of. Their bytes lie elsewhere in the file, under `key`.
#[derive(Debug)]
pub struct Storage<'a> {
    pub key: &'a str,
    pub dtype: Dtype,
    /// Number of elements.
    pub count: usize,
}

/// A view of a storage, as the pickle claims; see [`super::layout`] for what of it is true.
#[derive(Debug, Clone, Copy)]
pub struct Tensor {
    /// Place of the storage.
    pub storage: usize,
    /// Elements of the storage before the first of the tensor.
    pub offset: i64,
    /// Places of the tuples of sizes and of strides.
    pub sizes: usize,
    pub strides: usize,
}

/// Entries of a dict as they were set; of two with one key, the later holds.
pub type Items<'a> = Vec<(Value<'a>, Value<'a>)>;

/// All that values refer to by place.
#[derive(Debug, Default)]
pub struct Heap<'a> {
    sequences: Vec<Vec<Value<'a>>>,
    dicts: Vec<Items<'a>>,
    storages: Vec<Storage<'a>>,
    by_key: HashMap<&'a str, usize>,
    tensors: Vec<Tensor>,
}

impl<'a> Heap<'a> {
    pub fn tuple(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        Value::Tuple(push(&mut self.sequences, items))
    }

    pub fn list(&mut self) -> Value<'a> {
        Value::List(push(&mut self.sequences, Vec::new()))
    }

    pub fn dict(&mut self, items: Items<'a>) -> Value<'a> {
        Value::Dict(push(&mut self.dicts, items))
    }

    pub fn tensor(&mut self, tensor: Tensor) -> Value<'a> {
        Value::Tensor(push(&mut self.tensors, tensor))
    }

    /// The storage of this key, which must be the same wherever it is named.
    pub fn storage(&mut self, storage: Storage<'a>) -> Result<Value<'a>, &'static str> {
        let place = *self
            .by_key
            .entry(storage.key)
            .or_insert(self.storages.len());
        match self.storages.get(place) {
            None => self.storages.push(storage),
            Some(known) if (known.dtype, known.count) == (storage.dtype, storage.count) => {}
            Some(_) => return Err("one storage is given two types or sizes"),
        }
        Ok(Value::Storage(place))
    }

    pub fn sequence(&self, place: usize) -> &[Value<'a>] {
        self.sequences.get(place).map_or(&[], Vec::as_slice)
    }

    pub fn sequence_mut(&mut self, place: usize) -> Option<&mut Vec<Value<'a>>> {
        self.sequences.get_mut(place)
    }

    pub fn items(&self, place: usize) -> &[(Value<'a>, Value<'a>)] {
        self.dicts.get(place).map_or(&[], Vec::as_slice)
    }

    pub fn items_mut(&mut self, place: usize) -> Option<&mut Items<'a>> {
        self.dicts.get_mut(place)
    }

    pub fn storages(&self) -> &[Storage<'a>] {
        &self.storages
    }

    pub fn storage_of(&self, tensor: Tensor) -> Option<&Storage<'a>> {
        self.storages.get(tensor.storage)
    }

    pub fn storage_by_key(&self, key: &str) -> Option<&Storage<'a>> {
        self.storages.get(*self.by_key.get(key)?)
    }

    pub fn tensor_at(&self, place: usize) -> Option<Tensor> {
        self.tensors.get(place).copied()
    }
}

fn push<T>(all: &mut Vec<T>, one: T) -> usize {
    all.push(one);
    all.len() - 1
}
