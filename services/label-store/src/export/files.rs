//! Files of an export: whole or not at all.

use std::{
    fs,
    io::{BufReader, Read as _, Write as _},
    path::Path,
};

use crate::error::StoreError;

/// Creates a folder and those above it.
pub(super) fn create_folder(folder: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(folder).map_err(|e| StoreError::io("create", folder, e))
}

/// Writes a file through a temporary one beside it; a file that holds these bytes already is left alone.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    replace(path, |file| file.write_all(bytes))
}

/// Puts what `fill` writes in the place of a file, once it is whole.
pub(super) fn replace(
    path: &Path,
    fill: impl FnOnce(&mut fs::File) -> std::io::Result<()>,
) -> Result<(), StoreError> {
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(".partial-")
            .permissions(readable_by_all())
            .tempfile_in(path.parent().unwrap_or(Path::new("/")))?;
        fill(file.as_file_mut())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| StoreError::io("write", path, e))
}

/// Temporary files are private by default; an export is for others.
#[cfg(unix)]
fn readable_by_all() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

/// How an image file keeps its pixels, by Pillow's name.
pub(super) fn mode(path: &Path) -> Result<&'static str, StoreError> {
    let file = fs::File::open(path).map_err(|e| StoreError::io("open", path, e))?;
    Ok(saga_imaging::mode(BufReader::new(file)).unwrap_or("other"))
}

/// The usual extension of an image file, by its first bytes.
pub(super) fn extension(path: &Path) -> Result<&'static str, StoreError> {
    let mut head = Vec::with_capacity(12);
    fs::File::open(path)
        .and_then(|file| file.take(12).read_to_end(&mut head))
        .map_err(|e| StoreError::io("read", path, e))?;
    Ok(match head.as_slice() {
        [0xff, 0xd8, ..] => "jpg",
        [0x89, b'P', b'N', b'G', ..] => "png",
        [b'G', b'I', b'F', ..] => "gif",
        [b'B', b'M', ..] => "bmp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => "webp",
        _ => "tiff",
    })
}
