//! What can be wrong with a PyTorch checkpoint, and the way out.

use std::path::PathBuf;

/// Why a PyTorch checkpoint could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct PickleError {
    pub path: PathBuf,
    /// Boxed: it is several times as large as what most results hold.
    pub problem: Box<Problem>,
}

/// What is wrong, and where. Bytes are counted from the start of the pickle: data.pkl of an archive, else the file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot read: {0}")]
    Io(#[from] std::io::Error),
    #[error("not the zip archive that torch.save writes: {0}")]
    Zip(#[from] zip::result::ZipError),
    #[error(
        "not a file that torch.save wrote; save `model.state_dict()` with torch.save, or as safetensors"
    )]
    NotTorch,
    /// A format of PyTorch that is not read here.
    #[error(
        "{what}; load it in PyTorch and save its `state_dict()` with torch.save, or as safetensors"
    )]
    Format { what: &'static str },
    /// A name outside the list of what weights need.
    #[error(
        "the pickle asks for `{name}` at byte {at}, which could run code; nothing was run. If you trust its \
         origin, load it in PyTorch and save `model.state_dict()` with torch.save, or as safetensors"
    )]
    Global { name: String, at: usize },
    #[error(
        "the pickle holds `{name}` at byte {at}, an element type that is not read here; convert the tensors to \
         floating point or integers of 8 to 64 bits"
    )]
    ElementType { name: String, at: usize },
    #[error("opcode {code:#04x} at byte {at} of the pickle is none that torch.save writes")]
    Opcode { code: u8, at: usize },
    #[error("the pickle ends at byte {at}, in the middle of a value; is the file whole?")]
    Truncated { at: usize },
    #[error("the pickle is damaged at byte {at}: {why}")]
    Malformed { at: usize, why: &'static str },
    #[error("{what}: more than the {limit} that are allowed")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("storage {key:?}: {why}")]
    Storage { key: String, why: &'static str },
    #[error("tensor {name:?}: {why}")]
    Tensor { name: String, why: &'static str },
    #[error(
        "entry {key:?} of the state dict is {found}, not a tensor; save `model.state_dict()` alone, or under \
         \"state_dict\""
    )]
    Entry { key: String, found: &'static str },
    #[error(
        "no state dict: the file holds {found}; save `model.state_dict()`, alone or under one of: state_dict, \
         model_state_dict, model, net"
    )]
    NoStateDict { found: String },
    #[error("more than one state dict: {}; save the one that is meant alone", candidates.join(", "))]
    Ambiguous { candidates: Vec<&'static str> },
}

pub(super) type Result<T> = std::result::Result<T, Problem>;
