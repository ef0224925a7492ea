//! Files that take their names once they are whole.

use crate::error::{ExportError, Result};
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub path: PathBuf,
    pub bytes: u64,
}

/// Writes a file, or leaves the old one as it was.
///
/// # Errors
/// [`ExportError::Io`].
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<Written> {
    let write = |file: &mut File| {
        file.write_all(content.as_ref())
            .map_err(ExportError::io(path))
    };
    Whole::new(path, write)?.named()
}

/// A file that is on the disk, but has not its name yet. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Whole {
    file: NamedTempFile,
    written: Written,
}

impl Whole {
    /// Fills a file beside `path`, readable by whom the umask lets.
    pub(crate) fn new(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<Self> {
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
        let written = Written {
            path: path.to_path_buf(),
            bytes: size.len(),
        };
        Ok(Self { file, written })
    }

    /// Gives it its name.
    pub(crate) fn named(self) -> Result<Written> {
        let path = &self.written.path;
        self.file
            .persist(path)
            .map_err(|error| ExportError::io(path)(error.error))?;
        Ok(self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io;

    #[test]
    fn a_file_that_cannot_be_filled_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/results.json");
        assert_eq!(write(&path, "old").unwrap().bytes, 3);
        let full = Whole::new(&path, |file| {
            file.write_all(b"half").map_err(ExportError::io(&path))?;
            Err(ExportError::io(&path)(io::ErrorKind::StorageFull.into()))
        });
        assert!(full.unwrap_err().to_string().contains("results.json"));
        let unnamed = Whole::new(&path, |_| Ok(())).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 2);
        drop(unnamed);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
        write(&path, "new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
