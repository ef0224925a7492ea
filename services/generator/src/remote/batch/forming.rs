//! Requests that wait to be sent together.

use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{BatchConfig, Entry};
use crate::remote::answers::Failure;

/// How the sending of a batch ended.
pub type Sent = Result<(), Failure>;

/// The batches that form, by key and model.
#[derive(Default)]
pub struct Forming(Mutex<HashMap<Id, Batch>>);

/// Name of the key, and model.
type Id = (String, String);

/// Requests for one model, to be sent with one key.
pub struct Batch {
    pub key: String,
    pub entries: Vec<Entry>,
    callers: Vec<oneshot::Sender<Sent>>,
    source_bytes: usize,
    begun: Instant,
}

/// What joining came to.
pub enum Joined {
    /// This request began the batch: [`Forming::take`] it when it has waited long enough.
    Began(Instant),
    /// Others began it.
    Waits,
    /// This request filled the batch: send it.
    Filled(Batch),
}

impl Forming {
    /// Adds a request to those that wait for this key; how their sending will have ended.
    pub fn join(
        &self,
        key: &str,
        entry: Entry,
        config: &BatchConfig,
    ) -> (Joined, oneshot::Receiver<Sent>) {
        let (caller, sent) = oneshot::channel();
        let id = (key.to_owned(), entry.prepared.model.clone());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut occupied, began) = match all.entry(id) {
            hash_map::Entry::Occupied(occupied) => (occupied, false),
            hash_map::Entry::Vacant(vacant) => (vacant.insert_entry(Batch::new(key)), true),
        };
        let batch = occupied.get_mut();
        batch.source_bytes += entry.spec.source.as_ref().map_or(0, |source| source.len());
        batch.entries.push(entry);
        batch.callers.push(caller);
        let full = batch.entries.len() >= config.max_requests
            || batch.source_bytes >= config.max_source_bytes;
        let joined = match (full, began) {
            (true, _) => Joined::Filled(occupied.remove()),
            (false, true) => Joined::Began(batch.begun),
            (false, false) => Joined::Waits,
        };
        (joined, sent)
    }

    /// The batch that began at `begun`, unless it was filled since.
    pub fn take(&self, key: &str, model: &str, begun: Instant) -> Option<Batch> {
        let id = (key.to_owned(), model.to_owned());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = all.get(&id).is_some_and(|batch| batch.begun == begun);
        same.then(|| all.remove(&id)).flatten()
    }
}

impl Batch {
    fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            entries: Vec::new(),
            callers: Vec::new(),
            source_bytes: 0,
            begun: Instant::now(),
        }
    }

    /// Tells every caller how the sending ended.
    pub fn tell(self, sent: &Sent) {
        for caller in self.callers {
            // Who left finds the batch in the ledger when it comes back.
            let _ = caller.send(sent.clone());
        }
    }
}
