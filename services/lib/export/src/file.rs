//! Files that take their name once they are whole.

use crate::error::{ExportError, Result};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A file and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub path: PathBuf,
    pub bytes: u64,
}

/// Fills a file beside `path` and gives it that name once it is on the disk, readable by whom the
/// umask lets.
pub(crate) fn replace(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<Written> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(ExportError::io(parent))?;
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(parent)
        .map_err(ExportError::io(parent))?;
    fill(file.as_file_mut())?;
    let whole = file.as_file();
    let size = whole
        .sync_all()
        .and_then(|()| whole.metadata())
        .map_err(ExportError::io(path))?;
    file.persist(path)
        .map_err(|error| ExportError::io(path)(error.error))?;
    Ok(Written {
        path: path.to_path_buf(),
        bytes: size.len(),
    })
}
