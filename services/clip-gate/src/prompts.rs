//! Embeddings of prompts that were asked for before: a run asks for the same few for every candidate.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::model::Embedding;

/// An embedded text.
#[derive(Debug, PartialEq)]
pub(crate) struct Prompt {
    pub(crate) embedding: Embedding,
    /// Whether the text was cut to the model's context.
    pub(crate) truncated: bool,
}

/// A bounded map. Full, it starts anew: cheaper than bookkeeping, and right for a handful of prompts in long use.
pub(crate) struct PromptCache {
    capacity: usize,
    known: Mutex<HashMap<String, Arc<Prompt>>>,
}

impl PromptCache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            known: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, text: &str) -> Option<Arc<Prompt>> {
        self.lock().get(text).cloned()
    }

    pub(crate) fn put(&self, text: &str, prompt: &Arc<Prompt>) {
        let mut known = self.lock();
        if known.len() >= self.capacity {
            known.clear();
        }
        if self.capacity > 0 {
            known.insert(text.to_owned(), Arc::clone(prompt));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Prompt>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_holds_more_than_its_capacity() {
        let prompt = Arc::new(Prompt {
            embedding: vec![1.0],
            truncated: false,
        });
        for capacity in 0..3 {
            let cache = PromptCache::new(capacity);
            for text in ["a", "b", "c", "c"] {
                cache.put(text, &prompt);
                assert_eq!(cache.get(text).is_some(), capacity > 0);
                assert!(cache.lock().len() <= capacity);
            }
        }
    }
}
