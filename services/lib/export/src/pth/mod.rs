//! PyTorch state dicts, as torch.save writes them and `torch.load(weights_only=True)` reads them: a zip archive, uncompressed, of a
//! pickle that names the tensors and one file of bytes for each.

mod pickle;

use crate::bytes;
use crate::error::{ExportError, Result};
use crate::file::{Whole, Written};
use crate::source::Source;
use saga_models::checkpoint::Tensors;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, result::ZipError};

/// The folder in the archive that holds everything.
const ROOT: &str = "archive";
/// Of the archive's format, as PyTorch has written it since 1.6.
const VERSION: &[u8] = b"3\n";
/// What PyTorch aligns storages to, so that they can be mapped into memory.
const ALIGNMENT: u16 = 64;

/// Writes a model directory's state dict, in f32, under Hugging Face's names: what `load_state_dict` of the transformers class takes.
/// For SAGA's head that class gets the `torch.nn.Sequential` that `saga_models::vit` describes in the place of `classifier`.
///
/// # Errors
/// A model that cannot be loaded; [`ExportError::Io`].
pub fn export(dir: &Path, out: &Path) -> Result<Written> {
    let tensors = Source::read(dir)?.tensors;
    let file = Whole::new(out, |file| {
        let archived = archive(&tensors, file);
        archived?.map_err(|error| ExportError::io(out)(error.into()))
    });
    file?.named()
}

/// The outer result tells what is wrong with the tensors, the inner one what with the file.
fn archive(tensors: &Tensors, file: &mut File) -> Result<std::result::Result<(), ZipError>> {
    let index = pickle::state_dict(tensors)?;
    let mut zip = ZipWriter::new(BufWriter::new(file)).set_auto_large_file();
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(ALIGNMENT);
    let mut add = |name: &str, data: &[u8]| -> std::result::Result<(), ZipError> {
        zip.start_file(format!("{ROOT}/{name}"), options)?;
        Ok(zip.write_all(data)?)
    };
    let begun = add("data.pkl", &index).and_then(|()| add("byteorder", b"little"));
    if let Err(error) = begun {
        return Ok(Err(error));
    }
    for (key, tensor) in tensors.values().enumerate() {
        if let Err(error) = add(&format!("data/{key}"), &bytes::of(tensor)?) {
            return Ok(Err(error));
        }
    }
    let ended = add("version", VERSION).and_then(|()| zip.finish().map(drop));
    Ok(ended)
}
