//! Decoded sources by hash, least recently used out first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use saga_imaging::GrayImage;

/// Bounded by the bytes of the pictures it holds; shared by threads.
#[derive(Debug)]
pub(crate) struct SourceCache {
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pictures: HashMap<String, (Arc<GrayImage>, u64)>,
    bytes: usize,
    clock: u64,
}

impl SourceCache {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            state: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, blake3: &str) -> Option<Arc<GrayImage>> {
        let mut state = self.lock();
        state.clock += 1;
        let now = state.clock;
        let (picture, used) = state.pictures.get_mut(blake3)?;
        *used = now;
        Some(Arc::clone(picture))
    }

    /// Keeps `picture`, unless it alone is larger than the cache.
    pub(crate) fn insert(&self, blake3: String, picture: Arc<GrayImage>) {
        let size = picture.len();
        if size > self.max_bytes {
            return;
        }
        let mut state = self.lock();
        state.clock += 1;
        let now = state.clock;
        if let Some((replaced, _)) = state.pictures.insert(blake3, (picture, now)) {
            state.bytes -= replaced.len();
        }
        state.bytes += size;
        while state.bytes > self.max_bytes && state.drop_oldest() {}
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A scan is cheap beside a decode: a cache holds tens to hundreds of pictures.
    fn drop_oldest(&mut self) -> bool {
        let oldest = self
            .pictures
            .iter()
            .min_by_key(|(_, (_, used))| *used)
            .map(|(blake3, _)| blake3.clone());
        let Some((picture, _)) = oldest.and_then(|blake3| self.pictures.remove(&blake3)) else {
            return false;
        };
        self.bytes -= picture.len();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(bytes: u32) -> Arc<GrayImage> {
        Arc::new(GrayImage::new(bytes, 1))
    }

    #[test]
    fn the_least_recently_used_leaves_first() {
        let cache = SourceCache::new(30);
        for name in ["a", "b", "c"] {
            cache.insert(name.to_owned(), picture(10));
        }
        assert!(cache.get("a").is_some());
        cache.insert("d".to_owned(), picture(10));
        let there = ["a", "b", "c", "d"].map(|name| cache.get(name).is_some());
        assert_eq!(there, [true, false, true, true]);
    }

    #[test]
    fn replacing_does_not_leak_and_giants_stay_out() {
        let cache = SourceCache::new(30);
        for _ in 0..10 {
            cache.insert("a".to_owned(), picture(20));
        }
        assert_eq!(cache.lock().bytes, 20);
        cache.insert("giant".to_owned(), picture(31));
        assert!(cache.get("giant").is_none() && cache.get("a").is_some());
    }
}
