//! What lies in a folder, as the hub asks about it.

use super::error::HubError;
use saga_models::{checksums, diffusion::neighbours};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Bytes of a file's beginning that the hub looks at.
const SAMPLE: usize = 512;

/// A file to publish.
#[derive(Debug, Clone)]
pub(super) struct LocalFile {
    /// In the repository: parts with `/` between them.
    pub(super) path: String,
    /// On this machine.
    pub(super) at: PathBuf,
    pub(super) size: u64,
    /// Hexadecimal.
    pub(super) sha256: String,
    pub(super) sample: Vec<u8>,
}

/// Every file below `folder` in the order of their paths; not hidden ones, nor thumbnails of what a model was trained on.
pub(super) fn below(folder: &Path) -> Result<Vec<LocalFile>, HubError> {
    let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let entries = WalkDir::new(folder)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter();
    let mut files = Vec::new();
    let leaves = |name: &std::ffi::OsStr| !is_hidden(name) && name != neighbours::FILE;
    for entry in entries.filter_entry(|entry| leaves(entry.file_name())) {
        let entry = entry.map_err(|error| HubError::io(folder)(error.into()))?;
        if entry.path().is_file() {
            files.push(file(folder, entry.path())?);
        }
    }
    match files.is_empty() {
        true => Err(HubError::Empty {
            path: folder.to_path_buf(),
        }),
        false => Ok(files),
    }
}

fn file(folder: &Path, at: &Path) -> Result<LocalFile, HubError> {
    let below = at.strip_prefix(folder).unwrap_or(at);
    let parts: Option<Vec<&str>> = below.iter().map(|part| part.to_str()).collect();
    let parts = parts.ok_or_else(|| HubError::Name {
        path: at.to_path_buf(),
    })?;
    let mut file = File::open(at).map_err(HubError::io(at))?;
    let mut sample = Vec::new();
    file.by_ref()
        .take(SAMPLE as u64)
        .read_to_end(&mut sample)
        .map_err(HubError::io(at))?;
    let (sha256, size) =
        checksums::sha256(sample.as_slice().chain(file)).map_err(HubError::io(at))?;
    Ok(LocalFile {
        path: parts.join("/"),
        at: at.to_path_buf(),
        size,
        sha256,
        sample,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn files_are_named_hashed_and_hidden_ones_and_thumbnails_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        assert!(matches!(below(folder.path()), Err(HubError::Empty { .. })));
        write("sub/b.bin", &[7; 2000]);
        write("a.txt", b"abc");
        write(".git/config", b"hidden");
        write("sub/neighbours.safetensors", b"thumbnails");
        let files = below(folder.path()).unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names, ["a.txt", "sub/b.bin"]);
        // FIPS 180-2's example.
        assert_eq!(
            files[0].sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!((files[1].size, files[1].sample.len()), (2000, 512));
        let whole: String = Sha256::digest([7; 2000])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(files[1].sha256, whole);
    }
}
