//! Configuration sections of services with weights.

use saga_batching::BatchConfig;
use saga_chassis::InvalidValue;
use saga_imaging::DecodeLimits;
use serde::{Deserialize, Serialize};

/// `[limits]`: what one image may cost; inclusive.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Encoded bytes.
    pub max_image_bytes: usize,
    /// Declared width times height.
    pub max_pixels: u64,
    /// Declared width, and height.
    pub max_side: u32,
    /// Frames or pages.
    pub max_frames: u32,
}

impl Limits {
    /// The same limits as the decoder takes them.
    #[must_use]
    pub fn decode(&self) -> DecodeLimits {
        DecodeLimits {
            max_bytes: self.max_image_bytes,
            max_pixels: self.max_pixels,
            max_side: self.max_side,
            max_frames: self.max_frames,
        }
    }
}

/// `[work]`: threads, queues and batches.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Threads that decode; 0: one for each core.
    pub decoders: usize,
    /// Items that wait for a decoder, and decoded ones that wait for a model.
    pub queue_capacity: usize,
    /// Items that a model computes at once; 0: what suits the device.
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
        InvalidValue::unless_within("work.max_batch", self.max_batch, 0..=4096)?;
        InvalidValue::unless_within("work.max_in_flight", self.max_in_flight, 1..=100_000)
    }
}
