//! The pickle of a state dict: a dict of names and calls of `torch._utils._rebuild_tensor_v2`, in protocol 2.

use crate::error::{ExportError, Result};
use saga_models::checkpoint::Tensors;
use saga_models::pickle::opcode;
use saga_models::tch::{Kind, Tensor};

/// Protocol that torch.save writes.
const PROTOCOL: u8 = 2;

/// Tensors in the order of their names; each storage's key is its place in that order.
pub(super) fn state_dict(tensors: &Tensors) -> Result<Vec<u8>> {
    let mut pickle = vec![opcode::PROTO, PROTOCOL, opcode::EMPTY_DICT, opcode::MARK];
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        text(&mut pickle, name);
        rebuilt(&mut pickle, name, tensor, key)?;
    }
    pickle.extend([opcode::SETITEMS, opcode::STOP]);
    Ok(pickle)
}

/// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`.
fn rebuilt(pickle: &mut Vec<u8>, name: &str, tensor: &Tensor, key: usize) -> Result<()> {
    let storage = match tensor.f_kind()? {
        Kind::Float => "FloatStorage",
        Kind::Int64 => "LongStorage",
        kind => {
            let name = name.to_owned();
            return Err(ExportError::ElementType { name, kind });
        }
    };
    global(pickle, "torch._utils", "_rebuild_tensor_v2");
    pickle.extend([opcode::MARK, opcode::MARK]);
    text(pickle, "storage");
    global(pickle, "torch", storage);
    text(pickle, &key.to_string());
    text(pickle, "cpu");
    number(pickle, tensor.numel() as i64);
    pickle.extend([opcode::TUPLE, opcode::BINPERSID]);
    number(pickle, 0);
    let sizes = tensor.size();
    numbers(pickle, &sizes);
    numbers(pickle, &strides(&sizes));
    pickle.push(opcode::NEWFALSE);
    global(pickle, "collections", "OrderedDict");
    pickle.extend([
        opcode::EMPTY_TUPLE,
        opcode::REDUCE,
        opcode::TUPLE,
        opcode::REDUCE,
    ]);
    Ok(())
}

/// Elements between neighbours of a contiguous tensor.
fn strides(sizes: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; sizes.len()];
    let mut stride = 1;
    for (place, size) in strides.iter_mut().zip(sizes).rev() {
        *place = stride;
        stride *= size.max(&1);
    }
    strides
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(opcode::BINUNICODE);
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
}

fn global(pickle: &mut Vec<u8>, module: &str, name: &str) {
    pickle.push(opcode::GLOBAL);
    pickle.extend(format!("{module}\n{name}\n").as_bytes());
}

fn number(pickle: &mut Vec<u8>, number: i64) {
    match i32::try_from(number) {
        Ok(small) => {
            pickle.push(opcode::BININT);
            pickle.extend(small.to_le_bytes());
        }
        Err(_) => {
            pickle.extend([opcode::LONG1, 8]);
            pickle.extend(number.to_le_bytes());
        }
    }
}

fn numbers(pickle: &mut Vec<u8>, values: &[i64]) {
    pickle.push(opcode::MARK);
    for &value in values {
        number(pickle, value);
    }
    pickle.push(opcode::TUPLE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_those_of_contiguous_tensors() {
        for sizes in [&[2_i64, 3, 4][..], &[], &[7], &[2, 1, 5]] {
            let tensor = Tensor::zeros(sizes, (Kind::Float, saga_models::tch::Device::Cpu));
            assert_eq!(strides(sizes), tensor.stride(), "{sizes:?}");
        }
    }

    #[test]
    fn what_no_state_dict_of_ours_holds_is_refused_by_name() {
        let tensors = Tensors::from([("mask".to_owned(), Tensor::from_slice(&[true]))]);
        let error = state_dict(&tensors).unwrap_err();
        assert!(error.to_string().contains("mask"), "{error}");
    }
}
