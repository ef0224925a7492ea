//! Counters and gauges as plain numbers.

use saga_metrics::WorkMetrics;

/// One reading of a work's metrics: `queued` of this batcher, the rest of all batchers that share the metrics. Figures are
/// read one after another, not at one instant.
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

impl Stats {
    pub(crate) fn read(metrics: &WorkMetrics, queued: usize) -> Self {
        Self {
            queued: queued as u64,
            computing: metrics.computing(),
            shed: metrics.full.get(),
            expired: metrics.expired.get(),
            abandoned: metrics.abandoned.get(),
            batches: metrics.batch_size.count(),
            computed: metrics.computed.get(),
            failed: metrics.failed.get(),
        }
    }
}
