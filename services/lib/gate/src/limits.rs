//! What one image may cost, as a section of every gate's configuration.

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
