//! The instruments of one kind of work, such as a model's batches.

use crate::{Counter, Gauge, Histogram, Saturation};

/// Where a batching queue and its workers record. Clones share the figures, and so do all queues of the same work.
#[derive(Debug, Clone)]
pub struct WorkMetrics {
    pub(crate) work: &'static str,
    /// From submission until a worker took the item.
    pub queue_seconds: Histogram,
    /// The item's whole batch.
    pub compute_seconds: Histogram,
    /// From the item's arrival at the service to the answer.
    pub request_seconds: Histogram,
    /// Items of a batch.
    pub batch_size: Histogram,
    /// Items computed, whether they succeeded or not.
    pub computed: Counter,
    /// Items computed that were answered with an error of their own.
    pub failed: Counter,
    /// Items that found no room.
    pub full: Counter,
    /// Items whose deadline passed before they were computed.
    pub expired: Counter,
    /// Items whose caller left before they were computed.
    pub abandoned: Counter,
    /// Items that wait in the queue.
    pub queue_length: Gauge,
    pub(crate) queue_capacity: Gauge,
    pub(crate) computing: Gauge,
    pub(crate) saturation: Saturation,
}

impl WorkMetrics {
    /// The label `work`.
    #[must_use]
    pub fn work(&self) -> &'static str {
        self.work
    }

    /// A queue of `capacity` items opens, before workers whose batches have `places` together.
    pub fn open(&self, capacity: usize, places: usize) {
        self.queue_capacity.inc_by(signed(capacity));
        self.saturation.add_places(places);
    }

    /// The inverse of [`open`](Self::open).
    pub fn close(&self, capacity: usize, places: usize) {
        self.queue_capacity.dec_by(signed(capacity));
        self.saturation.remove_places(places);
    }

    /// A worker begins a batch.
    pub fn begin(&self, items: usize) {
        self.computing.inc_by(signed(items));
        self.saturation.begin(items);
    }

    /// A worker ends a batch.
    pub fn end(&self, items: usize) {
        self.computing.dec_by(signed(items));
        self.saturation.end(items);
    }

    /// Items that are being computed.
    #[must_use]
    pub fn computing(&self) -> u64 {
        u64::try_from(self.computing.get()).unwrap_or(0)
    }
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
