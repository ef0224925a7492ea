//! What a caller gets back.

use std::time::Duration;

/// The output of one item and where its time went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batched<Output> {
    /// What the worker made of the item.
    pub output: Output,
    /// From submission until a worker took the item, waiting for room included.
    pub queue: Duration,
    /// The item's whole batch on the worker.
    pub compute: Duration,
    /// Items in that batch.
    pub batch_size: usize,
}

/// Why an item has no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError<E> {
    /// The queue has no room for the item's priority; only [`try_submit`](crate::Batcher::try_submit) answers this.
    #[error("the queue has no room ({capacity} items wait before this one); try again later")]
    Full {
        /// Items that the queue holds, or of low ones where those fill their share.
        capacity: usize,
    },
    /// The deadline passed while the item waited, or would have before its batch was done; nothing was computed.
    #[error("the item waited too long to be answered before its deadline; nothing was computed")]
    DeadlineExceeded,
    /// A worker panicked or miscounted; no worker takes items any more.
    #[error("the worker is out of service: {reason}")]
    Unhealthy {
        /// What went wrong.
        reason: String,
    },
    /// The worker's own error for this item alone.
    #[error("{0}")]
    Item(E),
}

/// Why the workers did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError<M> {
    /// The operating system gave no thread.
    #[error("no thread for {name}: {source}")]
    Thread {
        /// Name of the batcher.
        name: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The function that makes a worker panicked.
    #[error("{name} panicked while it was made: {reason}")]
    Panicked {
        /// Name of the batcher.
        name: String,
        /// The panic's message.
        reason: String,
    },
    /// The function that makes a worker failed.
    #[error("{0}")]
    Make(M),
}
