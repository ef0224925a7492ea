//! The zip archive that torch.save has written since 1.6: `data.pkl`, and a file below `data/` for each storage.

use super::collect::{Storages, collect};
use super::error::{Problem, Result};
use super::machine::{self, LONGEST};
use super::state_dict;
use super::value::Storage;
use crate::stored::Stored;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use zip::ZipArchive;

/// What every zip archive starts with.
pub const START: &[u8] = b"PK\x03\x04";

pub fn read(file: File, length: u64) -> Result<BTreeMap<String, Stored>> {
    let mut archive = Archive::open(file)?;
    let pickle = archive.pickle()?;
    let pickled = machine::run(&pickle, 0)?;
    if pickled.end != pickle.len() {
        return Err(Problem::Malformed {
            at: pickled.end,
            why: "bytes after its end",
        });
    }
    let tensors = state_dict::find(pickled.root, &pickled.heap)?;
    collect(tensors, &pickled.heap, length, &mut archive)
}

struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// The folder that all else lies in, named after the file that was first saved.
    root: String,
}

impl Archive {
    fn open(file: File) -> Result<Self> {
        let zip = ZipArchive::new(BufReader::new(file))?;
        if zip.has_duplicate_names() {
            let what = "two files of the archive have one name";
            return Err(Problem::Format { what });
        }
        let first = zip.file_names().next().ok_or(Problem::NotTorch)??;
        let (root, _) = first.split_once('/').ok_or(Problem::NotTorch)?;
        let root = root.to_string();
        let mut archive = Self { zip, root };
        if archive.is_script() {
            let what = "a TorchScript archive, which holds a program";
            return Err(Problem::Format { what });
        }
        archive.check_byte_order()?;
        Ok(archive)
    }

    fn is_script(&self) -> bool {
        let constants = self.path("constants.pkl");
        let code = self.path("code/");
        let mut names = self.zip.file_names().flatten();
        names.any(|name| name == constants || name.starts_with(&code))
    }

    /// Archives of before 2.1 do not say; none of them is known to be big-endian.
    fn check_byte_order(&mut self) -> Result<()> {
        let name = self.path("byteorder");
        if self.zip.index_for_name(&name).is_none() {
            return Ok(());
        }
        match self.entry(&name, 16)?.as_slice() {
            b"little" => Ok(()),
            _ => Err(Problem::Format {
                what: "a checkpoint that is not little-endian",
            }),
        }
    }

    fn pickle(&mut self) -> Result<Vec<u8>> {
        let name = self.path("data.pkl");
        if self.zip.index_for_name(&name).is_none() {
            return Err(Problem::NotTorch);
        }
        self.entry(&name, LONGEST as u64)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    /// A file of the archive, whose checksum then is known to be right.
    fn entry(&mut self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let entry = self.zip.by_name(name)?;
        if entry.size() > limit {
            return Err(Problem::TooLarge {
                what: "bytes of data.pkl or byteorder",
                limit,
            });
        }
        let mut bytes = Vec::new();
        entry
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Storages for Archive {
    fn bytes(&mut self, storage: &Storage, size: usize) -> Result<Vec<u8>> {
        let wrong = |why| Problem::Storage {
            key: storage.key.into(),
            why,
        };
        let name = self.path(&format!("data/{}", storage.key));
        if self.zip.index_for_name(&name).is_none() {
            return Err(wrong("not in the archive"));
        }
        let mut entry = self.zip.by_name(&name)?;
        if entry.size() != size as u64 {
            return Err(wrong("its size in the archive is not what the pickle says"));
        }
        let mut bytes = Vec::with_capacity(size);
        entry.read_to_end(&mut bytes)?;
        if bytes.len() != size {
            return Err(wrong("its size in the archive is not what the pickle says"));
        }
        Ok(bytes)
    }
}
