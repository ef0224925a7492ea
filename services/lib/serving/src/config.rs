//! Configuration sections of services with weights.

use saga_batching::BatchConfig;
use saga_chassis::InvalidValue;
use serde::{Deserialize, Serialize};

/// `[work]`: threads, queues and batches.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Threads that decode; 0: one for each core.
    pub decoders: usize,
    /// Items that wait for a decoder, and decoded ones that wait for a model.
    pub queue_capacity: usize,
    /// Copies of a model that compute beside each other, each on as large a share of the cores.
    pub instances: usize,
    /// Items that an instance computes at once; 0: what suits the device.
    pub max_batch: usize,
    /// Items of one stream under way at the same time.
    pub max_in_flight: usize,
}

impl Work {
    /// Queue and batch of a model on a device that batches of `suitable` items suit.
    #[must_use]
    pub fn batch(&self, suitable: usize) -> BatchConfig {
        BatchConfig {
            max_batch: match self.max_batch {
                0 => suitable,
                chosen => chosen,
            },
            queue_capacity: self.queue_capacity,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// The first value out of range.
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::unless_within("work.decoders", self.decoders, 0..=1024)?;
        InvalidValue::unless_within("work.queue_capacity", self.queue_capacity, 1..=100_000)?;
        InvalidValue::unless_within("work.instances", self.instances, 1..=256)?;
        InvalidValue::unless_within("work.max_batch", self.max_batch, 0..=4096)?;
        InvalidValue::unless_within("work.max_in_flight", self.max_in_flight, 1..=100_000)
    }
}
