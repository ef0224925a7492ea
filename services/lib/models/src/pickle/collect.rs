//! From tensors as the pickle claims them to bytes: one storage at a time, within what the file's size allows.

use super::error::{Problem, Result};
use super::layout::{Layout, element};
use super::value::{Heap, Storage, Tensor};
use crate::stored::Stored;
use std::collections::BTreeMap;

/// How much larger than the file its tensors may be together: weights tied under several names, and views that
/// repeat elements, are written out in full.
const GROWTH: u64 = 8;
const ALWAYS_ALLOWED: u64 = 1 << 20;

/// Where a file keeps the elements of its storages.
pub trait Storages {
    /// All `size` bytes of a storage.
    fn bytes(&mut self, storage: &Storage, size: usize) -> Result<Vec<u8>>;
}

/// Reads the tensors of a file that is `length` bytes long.
pub fn collect(
    tensors: BTreeMap<&str, Tensor>,
    heap: &Heap,
    length: u64,
    storages: &mut impl Storages,
) -> Result<BTreeMap<String, Stored>> {
    let mut all = BTreeMap::new();
    for (place, views) in views(tensors, heap, length)? {
        let Some(storage) = heap.storages().get(place) else {
            continue;
        };
        let mut bytes = match storage.count {
            0 => Vec::new(),
            _ => storages.bytes(storage, size(storage)?)?,
        };
        let last = views.len().saturating_sub(1);
        for (nth, (name, layout)) in views.into_iter().enumerate() {
            let data = layout.gather(&mut bytes, nth == last);
            let data = data.ok_or_else(|| Problem::Tensor {
                name: name.into(),
                why: "it reaches beyond its storage",
            })?;
            let (dtype, shape) = (layout.dtype, layout.shape);
            all.insert(name.to_string(), Stored { dtype, shape, data });
        }
    }
    Ok(all)
}

/// Views by the storage they are of, once all are known to be sound and to fit.
type Views<'a> = BTreeMap<usize, Vec<(&'a str, Layout)>>;

fn views<'a>(tensors: BTreeMap<&'a str, Tensor>, heap: &Heap, length: u64) -> Result<Views<'a>> {
    let mut made = Budget {
        what: "bytes of tensors",
        limit: length.saturating_mul(GROWTH).max(ALWAYS_ALLOWED),
        spent: 0,
    };
    // Entries of an archive can overlap.
    let mut read = Budget {
        what: "bytes of storages",
        limit: length,
        spent: 0,
    };
    let mut views = Views::new();
    for (name, tensor) in tensors {
        let invalid = |why| Problem::Tensor {
            name: name.into(),
            why,
        };
        let storage = heap.storage_of(tensor);
        let storage = storage.ok_or_else(|| invalid("it has no storage"))?;
        let layout = Layout::new(tensor, storage, heap).map_err(invalid)?;
        made.spend(layout.size())?;
        let views = views.entry(tensor.storage).or_default();
        if views.is_empty() {
            read.spend(Some(size(storage)?))?;
        }
        views.push((name, layout));
    }
    Ok(views)
}

/// Bytes of a storage.
pub fn size(storage: &Storage) -> Result<usize> {
    let size = storage.count.checked_mul(element(storage.dtype));
    size.ok_or_else(|| Problem::Storage {
        key: storage.key.into(),
        why: "more bytes than can be counted",
    })
}

struct Budget {
    what: &'static str,
    limit: u64,
    spent: u64,
}

impl Budget {
    /// `None` stands for more than can be counted.
    fn spend(&mut self, bytes: Option<usize>) -> Result<()> {
        let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
        self.spent = self.spent.saturating_add(bytes.unwrap_or(u64::MAX));
        if self.spent <= self.limit {
            return Ok(());
        }
        Err(Problem::TooLarge {
            what: self.what,
            limit: self.limit,
        })
    }
}
