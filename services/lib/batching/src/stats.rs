//! Counters and gauges as plain numbers; a service exports them under its own names.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One reading. Counters grow from the start of the batcher; they are read one after another, not at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Items that wait in the queue now.
    pub queued: u64,
    /// Items that are being computed now.
    pub computing: u64,
    /// Items that found no room and were shed.
    pub shed: u64,
    /// Items skipped because their deadline had passed.
    pub expired: u64,
    /// Items skipped because their caller had gone away.
    pub abandoned: u64,
    /// Batches computed.
    pub batches: u64,
    /// Items computed, whether they succeeded or not.
    pub computed: u64,
    /// Items that the worker answered with an error of their own.
    pub failed: u64,
}

/// The live numbers behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) computing: AtomicU64,
    pub(crate) shed: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) computed: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self, queued: usize) -> Stats {
        Stats {
            queued: queued as u64,
            computing: self.computing.load(Relaxed),
            shed: self.shed.load(Relaxed),
            expired: self.expired.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            batches: self.batches.load(Relaxed),
            computed: self.computed.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, items: usize) {
    counter.fetch_add(items as u64, Relaxed);
}

pub(crate) fn subtract(counter: &AtomicU64, items: usize) {
    counter.fetch_sub(items as u64, Relaxed);
}
