//! Reads weights from the files that torch.save writes (`.pth`, `.pt`, `.bin`) and runs nothing of what they hold.
//!
//! A checkpoint is a pickle: a program for a machine that makes Python objects and may call any function there is. The
//! machine here makes data only.
//!
//! | file | idea |
//! |---|---|
//! | `archive`, `legacy` | the two formats, since and before PyTorch 1.6 |
//! | `machine`, `stack`, `opcode`, `input` | the pickle machine, its stack, opcodes and bytes |
//! | `globals`, `construct` | the names it may ask for, and what is made in place of calls |
//! | `value` | what it makes |
//! | `state_dict` | which of it are the weights |
//! | `layout`, `collect` | their bytes, contiguous |
//!
//! Limits: 64 MiB and about a million operations for the pickle, and for all tensors together 8 times the
//! file's size, or 1 MiB where that is more.

mod archive;
mod collect;
mod construct;
mod error;
mod globals;
mod input;
mod layout;
mod legacy;
mod machine;
pub mod opcode;
mod stack;
mod state_dict;
mod value;

pub use error::{PickleError, Problem};

use crate::stored::Stored;
use error::Result;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

/// Where the headers of a tar archive tell what it is, and what they say.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// The tensors of the state dict that the file is or holds, by name. Tensors that share a storage, and views of
/// one, each get bytes of their own.
///
/// A state dict may lie under `state_dict`, `model_state_dict`, `model` or `net`; what lies beside it (an optimizer's
/// state, an epoch) is ignored, unless it asks for a name that could run code.
///
/// # Errors
/// [`PickleError`] names the file, what is wrong at which place of it, and what to save instead.
pub fn read(path: &Path) -> std::result::Result<BTreeMap<String, Stored>, PickleError> {
    read_file(path).map_err(|problem| PickleError {
        path: path.to_path_buf(),
        problem: problem.into(),
    })
}

fn read_file(path: &Path) -> Result<BTreeMap<String, Stored>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::new();
    file.by_ref().take(512).read_to_end(&mut head)?;
    file.rewind()?;
    if head.starts_with(archive::START) {
        archive::read(file, length)
    } else if head
        .get(TAR.0..)
        .is_some_and(|rest| rest.starts_with(TAR.1))
    {
        let what = "a checkpoint in the tar format of PyTorch 0.1";
        Err(Problem::Format { what })
    } else if head.starts_with(legacy::START) {
        legacy::read(file, length)
    } else {
        Err(Problem::NotTorch)
    }
}
