//! The names that a pickle may ask for. None is ever looked up in a Python: each stands for one thing that is made
//! of data here, and whatever is not listed is refused.

use super::error::Problem;
use safetensors::Dtype;

#[derive(Debug, Clone, Copy)]
pub enum Global {
    OrderedDict,
    /// `torch.Size`, a tuple.
    Size,
    /// Makes a tensor of a storage.
    Tensor,
    /// Makes a parameter of a tensor.
    Parameter,
    /// The type of a storage, by what its elements are.
    Storage(Dtype),
    /// Makes a value that occurs beside weights and that no weight is made of; the text names it.
    Plain(&'static str),
}

/// What `module.name` stands for; `at` is where the pickle asks for it.
pub fn find(module: &str, name: &str, at: usize) -> Result<Global, Problem> {
    let storage = |dtype| Ok(Global::Storage(dtype));
    match (module, name) {
        ("collections", "OrderedDict") => Ok(Global::OrderedDict),
        ("collections", "Counter") => Ok(Global::Plain("a Counter")),
        ("builtins" | "__builtin__", "set" | "frozenset") => Ok(Global::Plain("a set")),
        // How protocol 2 writes bytes.
        ("_codecs", "encode") => Ok(Global::Plain("bytes")),
        ("torch", "device") => Ok(Global::Plain("a device")),
        ("torch", "Size") => Ok(Global::Size),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Ok(Global::Tensor),
        ("torch._utils", "_rebuild_parameter") => Ok(Global::Parameter),
        ("torch", "DoubleStorage") => storage(Dtype::F64),
        ("torch", "FloatStorage") => storage(Dtype::F32),
        ("torch", "HalfStorage") => storage(Dtype::F16),
        ("torch", "BFloat16Storage") => storage(Dtype::BF16),
        ("torch", "LongStorage") => storage(Dtype::I64),
        ("torch", "IntStorage") => storage(Dtype::I32),
        ("torch", "ShortStorage") => storage(Dtype::I16),
        ("torch", "CharStorage") => storage(Dtype::I8),
        ("torch", "ByteStorage") | ("torch.storage", "UntypedStorage") => storage(Dtype::U8),
        ("torch", "BoolStorage") => storage(Dtype::BOOL),
        _ => {
            let full = printable(module, name);
            let element = module == "torch" && name.ends_with("Storage");
            Err(if element {
                Problem::ElementType { name: full, at }
            } else {
                Problem::Global { name: full, at }
            })
        }
    }
}

/// The dotted name without control characters, cut where it is absurdly long.
fn printable(module: &str, name: &str) -> String {
    const LONGEST: usize = 200;
    let full = [module, ".", name];
    let characters = full.iter().flat_map(|part| part.chars());
    characters
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect()
}
