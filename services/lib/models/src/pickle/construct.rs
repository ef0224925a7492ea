//! What a pickle makes by "calling" a name: containers, storages and tensors, as data on the heap.

use super::error::{Problem, Result};
use super::globals::Global;
use super::machine::Machine;
use super::value::{Storage, Tensor, Value};

impl<'a> Machine<'a> {
    /// What stands for the result of `function(*arguments)`.
    pub(super) fn call(&mut self, function: Value<'a>, arguments: Value<'a>) -> Result<Value<'a>> {
        let (Value::Global(function), Value::Tuple(arguments)) = (function, arguments) else {
            return Err(self.malformed("a call of something that is no function"));
        };
        let known = self.heap.sequence(arguments);
        match (function, known) {
            (Global::Plain(what), _) => Ok(Value::Plain(what)),
            (Global::OrderedDict, []) => Ok(self.heap.dict(Vec::new())),
            (Global::OrderedDict, &[Value::List(pairs)]) => self.dict_of_pairs(pairs),
            (Global::Size, &[size @ Value::Tuple(_)]) => Ok(size),
            (Global::Parameter, &[tensor @ Value::Tensor(_), ..]) => Ok(tensor),
            (Global::Tensor, &[storage, offset, sizes, strides, ref rest @ ..]) => {
                // Of requires_grad, hooks and metadata only the last says what the numbers are.
                let metadata = rest.get(2).copied().unwrap_or(Value::None);
                self.tensor([storage, offset, sizes, strides, metadata])
            }
            _ => Err(self.malformed("arguments that do not fit what they are for")),
        }
    }

    /// How Python 2 wrote an OrderedDict.
    fn dict_of_pairs(&mut self, pairs: usize) -> Result<Value<'a>> {
        self.spend(self.heap.sequence(pairs).len())?;
        let pair = |value: &Value<'a>| match *value {
            Value::List(pair) | Value::Tuple(pair) => match *self.heap.sequence(pair) {
                [key, value] => Some((key, value)),
                _ => None,
            },
            _ => None,
        };
        let items: Option<Vec<_>> = self.heap.sequence(pairs).iter().map(pair).collect();
        let items = items.ok_or_else(|| self.malformed("an OrderedDict of other than pairs"))?;
        Ok(self.heap.dict(items))
    }

    fn tensor(&mut self, arguments: [Value<'a>; 5]) -> Result<Value<'a>> {
        let [storage, offset, sizes, strides, metadata] = arguments;
        let lazy = match metadata {
            Value::None => false,
            Value::Dict(flags) => !self.heap.items(flags).is_empty(),
            _ => true,
        };
        if lazy {
            return Err(self.malformed("a tensor that is conjugated or negated lazily"));
        }
        match (storage, offset, sizes, strides) {
            (
                Value::Storage(storage),
                Value::Int(offset),
                Value::Tuple(sizes),
                Value::Tuple(strides),
            ) => Ok(self.heap.tensor(Tensor {
                storage,
                offset,
                sizes,
                strides,
            })),
            _ => Err(self.malformed("arguments that make no tensor")),
        }
    }

    /// The storage that a persistent id names: ("storage", type, key, device, count), and in the legacy format a view.
    pub(super) fn storage(&mut self, id: Value<'a>) -> Result<Value<'a>> {
        let Value::Tuple(parts) = id else {
            return Err(self.malformed("a persistent id that is no tuple"));
        };
        let (kind, key, count) = match *self.heap.sequence(parts) {
            [Value::Str("storage"), kind, key, _, count] => (kind, key, count),
            [Value::Str("storage"), kind, key, _, count, Value::None] => (kind, key, count),
            [Value::Str("storage"), _, _, _, _, _] => {
                return Err(self.malformed("a view of a storage, which only PyTorch 0.3 wrote"));
            }
            _ => return Err(self.malformed("a persistent id of other than a storage")),
        };
        let (Value::Global(Global::Storage(dtype)), Value::Str(key), Value::Int(count)) =
            (kind, key, count)
        else {
            return Err(self.malformed("a storage without type, key or size"));
        };
        let why = |why| Problem::Storage {
            key: key.into(),
            why,
        };
        let count = usize::try_from(count).map_err(|_| why("a negative size"))?;
        let storage = Storage { key, dtype, count };
        self.heap.storage(storage).map_err(why)
    }
}
