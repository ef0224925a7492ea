//! The content-addressed folder of image files: `blobs/ab/cdef...`, named by the BLAKE3 of their bytes.
//!
//! A blob is written to a temporary file, fsynced, renamed, and its folder fsynced, all before the row that refers to it
//! commits. So a row never refers to a blob that is not there; a crash leaves at most a blob without a row, which
//! [`Blobs::sweep`] removes at the next start.

use std::{
    collections::{BTreeSet, HashSet},
    fmt, fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::error::StoreError;

/// A moment in the writing of a blob at which a test may interfere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteStep {
    /// Nothing is written yet.
    Begin,
    /// The blob is in its place; the row that refers to it is not.
    Placed,
}

/// Called at each step; an error stands for the disk's own.
pub type WriteCheck = Arc<dyn Fn(WriteStep) -> io::Result<()> + Send + Sync>;

/// Handle to the folder.
#[derive(Clone)]
pub struct Blobs {
    root: PathBuf,
    check: Option<WriteCheck>,
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobs")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Blobs {
    /// Opens the folder, creates it where missing.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let temporary = root.join("tmp");
        fs::create_dir_all(&temporary).map_err(|e| StoreError::io("create", &temporary, e))?;
        Ok(Self {
            root: root.to_path_buf(),
            check: None,
        })
    }

    /// Lets a test make writes fail.
    #[must_use]
    pub fn with_write_check(mut self, check: WriteCheck) -> Self {
        self.check = Some(check);
        self
    }

    /// Where the blob of this hash lies.
    pub fn path(&self, blake3: &str) -> PathBuf {
        let (shard, rest) = blake3.split_at_checked(2).unwrap_or((blake3, ""));
        self.root.join(shard).join(rest)
    }

    /// Writes a blob durably and returns its hash. One that is there already is left alone.
    pub fn put(&self, bytes: &[u8]) -> Result<String, StoreError> {
        let blake3 = self.put_unsynced(bytes)?;
        self.sync_folders([blake3.as_str()])?;
        Ok(blake3)
    }

    /// Writes a blob whose folder entry is not durable before [`Blobs::sync_folders`].
    pub fn put_unsynced(&self, bytes: &[u8]) -> Result<String, StoreError> {
        let blake3 = blake3::hash(bytes).to_hex().to_string();
        let path = self.path(&blake3);
        if !path.exists() {
            self.write(&path, bytes)
                .map_err(|e| match StoreError::io("write", &path, e) {
                    StoreError::DiskFull { .. } => StoreError::DiskFull {
                        folder: self.root.clone(),
                    },
                    other => other,
                })?;
        }
        Ok(blake3)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(WriteStep::Begin)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = tempfile::NamedTempFile::new_in(self.root.join("tmp"))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        self.step(WriteStep::Placed)
    }

    fn step(&self, step: WriteStep) -> io::Result<()> {
        self.check.as_ref().map_or(Ok(()), |check| check(step))
    }

    /// Makes the entries of these blobs durable.
    pub fn sync_folders<'a>(
        &self,
        hashes: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), StoreError> {
        let folders: BTreeSet<_> = hashes
            .into_iter()
            .filter_map(|h| self.path(h).parent().map(Path::to_path_buf))
            .collect();
        for folder in folders.iter().chain([&self.root]) {
            fs::File::open(folder)
                .and_then(|f| f.sync_all())
                .map_err(|e| StoreError::io("fsync", folder, e))?;
        }
        Ok(())
    }

    /// The bytes of a blob, checked against its name.
    pub fn read(&self, blake3: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.path(blake3);
        let damaged = |what| StoreError::Damaged {
            blake3: blake3.to_owned(),
            what,
        };
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(damaged("missing")),
            other => other.map_err(|e| StoreError::io("read", &path, e))?,
        };
        if blake3::hash(&bytes).to_hex().as_str() != blake3 {
            return Err(damaged("damaged"));
        }
        Ok(bytes)
    }

    /// The hashes of all blobs.
    pub fn list(&self) -> Result<Vec<String>, StoreError> {
        let mut hashes = Vec::new();
        for entry in walkdir::WalkDir::new(&self.root).min_depth(2).max_depth(2) {
            let entry = entry.map_err(|e| StoreError::io("list", &self.root, e.into()))?;
            let shard = entry
                .path()
                .parent()
                .and_then(Path::file_name)
                .unwrap_or_default();
            if shard != "tmp" {
                hashes.push(format!(
                    "{}{}",
                    shard.to_string_lossy(),
                    entry.file_name().to_string_lossy()
                ));
            }
        }
        Ok(hashes)
    }

    /// Removes what a crash left: unfinished files, and blobs that no row refers to. Returns how many files went. Only
    /// safe while nothing is being written.
    pub fn sweep(&self, referenced: &HashSet<String>) -> Result<usize, StoreError> {
        let temporary = self.root.join("tmp");
        let unfinished =
            fs::read_dir(&temporary).map_err(|e| StoreError::io("list", &temporary, e))?;
        let orphans = self
            .list()?
            .into_iter()
            .filter(|h| !referenced.contains(h))
            .map(|h| self.path(&h));
        let mut removed = 0;
        for path in unfinished.flatten().map(|e| e.path()).chain(orphans) {
            fs::remove_file(&path).map_err(|e| StoreError::io("remove", &path, e))?;
            removed += 1;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_written_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let hash = blobs.put(b"face").unwrap();
        assert_eq!(hash, blobs.put(b"face").unwrap());
        assert_eq!(blobs.read(&hash).unwrap(), b"face");
        assert_eq!(blobs.list().unwrap(), [hash]);
    }

    #[test]
    fn the_sweep_takes_orphans_and_unfinished_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let kept = blobs.put(b"kept").unwrap();
        blobs.put(b"orphan").unwrap();
        fs::write(folder.path().join("tmp/half"), b"ha").unwrap();
        assert_eq!(blobs.sweep(&HashSet::from([kept.clone()])).unwrap(), 2);
        assert_eq!(blobs.list().unwrap(), [kept]);
    }

    #[test]
    fn damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let hash = blobs.put(b"face").unwrap();
        fs::write(blobs.path(&hash), b"fake").unwrap();
        assert!(matches!(
            blobs.read(&hash),
            Err(StoreError::Damaged {
                what: "damaged",
                ..
            })
        ));
        fs::remove_file(blobs.path(&hash)).unwrap();
        assert!(matches!(
            blobs.read(&hash),
            Err(StoreError::Damaged {
                what: "missing",
                ..
            })
        ));
    }

    #[test]
    fn a_full_disk_names_the_folder_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let full: WriteCheck = Arc::new(|_| Err(io::ErrorKind::StorageFull.into()));
        let blobs = Blobs::open(folder.path()).unwrap().with_write_check(full);
        let error = blobs.put(b"face").unwrap_err();
        assert!(
            matches!(&error, StoreError::DiskFull { folder: f } if f.starts_with(folder.path()))
        );
        assert!(blobs.list().unwrap().is_empty());
    }
}
