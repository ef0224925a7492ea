//! The format that torch.save wrote before 1.6: five pickles (magic number, version, the machine it was written on, the
//! object, the keys of storages), then each storage as an element count and its elements, little-endian everywhere.

use super::collect::{self, Storages, collect};
use super::error::{Problem, Result};
use super::machine::{self, LONGEST};
use super::state_dict;
use super::value::{Heap, Storage, Value};
use crate::stored::Stored;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// The opcode that every pickle of protocol 2 or later starts with.
pub const START: &[u8] = &[super::opcode::PROTO];

/// 0x1950a86a20f9469cfc6c, as a pickle writes it.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// Bytes of the element count before a storage.
const HEADER: u64 = 8;

pub fn read(mut file: File, length: u64) -> Result<BTreeMap<String, Stored>> {
    let mut pickles = Vec::new();
    file.by_ref()
        .take(LONGEST as u64)
        .read_to_end(&mut pickles)?;
    let run = |start| {
        machine::run(&pickles, start).map_err(|problem| match problem {
            Problem::Truncated { .. } if (pickles.len() as u64) < length => Problem::TooLarge {
                what: "bytes of the pickle",
                limit: LONGEST as u64,
            },
            problem => problem,
        })
    };
    let magic = run(0)?;
    if !matches!(magic.root, Value::Long(bytes) if bytes == MAGIC) {
        return Err(Problem::NotTorch);
    }
    let version = run(magic.end)?;
    if !matches!(version.root, Value::Int(VERSION)) {
        let what = "a version of the legacy format that is unknown";
        return Err(Problem::Format { what });
    }
    let machine = run(version.end)?;
    let object = run(machine.end)?;
    let keys = run(object.end)?;
    let Value::List(list) = keys.root else {
        return Err(Problem::Malformed {
            at: object.end,
            why: "keys of storages that are no list",
        });
    };
    let tensors = state_dict::find(object.root, &object.heap)?;
    let mut table = Table {
        file,
        starts: BTreeMap::new(),
    };
    table.fill(
        keys.heap.sequence(list),
        &object.heap,
        keys.end as u64,
        length,
    )?;
    collect(tensors, &object.heap, length, &mut table)
}

/// Where each storage's elements start.
struct Table<'a> {
    file: File,
    starts: BTreeMap<&'a str, u64>,
}

impl<'a> Table<'a> {
    /// Walks the storages, which fill the file from `at` to its end.
    fn fill(&mut self, keys: &[Value<'a>], heap: &Heap, mut at: u64, length: u64) -> Result<()> {
        for key in keys {
            let Value::Str(key) = *key else {
                return Err(Problem::Malformed {
                    at: usize::try_from(at).unwrap_or(usize::MAX),
                    why: "a storage's key that is not text",
                });
            };
            let wrong = |why| Problem::Storage {
                key: key.into(),
                why,
            };
            let storage = heap.storage_by_key(key);
            let storage = storage.ok_or_else(|| wrong("no tensor refers to it"))?;
            let start = at.saturating_add(HEADER);
            let end = start.saturating_add(collect::size(storage)? as u64);
            if end > length {
                return Err(wrong("the file ends within it"));
            }
            let mut count = [0; HEADER as usize];
            self.file.seek(SeekFrom::Start(at))?;
            self.file.read_exact(&mut count)?;
            if u64::from_le_bytes(count) != storage.count as u64 {
                return Err(wrong("its size is not what the pickle says"));
            }
            if self.starts.insert(key, start).is_some() {
                return Err(wrong("it occurs twice"));
            }
            at = end;
        }
        if at == length {
            return Ok(());
        }
        let what = "bytes follow the last storage";
        Err(Problem::Format { what })
    }
}

impl Storages for Table<'_> {
    fn bytes(&mut self, storage: &Storage, size: usize) -> Result<Vec<u8>> {
        let start = self
            .starts
            .get(storage.key)
            .ok_or_else(|| Problem::Storage {
                key: storage.key.into(),
                why: "not in the file",
            })?;
        let mut bytes = vec![0; size];
        self.file.seek(SeekFrom::Start(*start))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
