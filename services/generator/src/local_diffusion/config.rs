//! The `[local_diffusion]` section.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use saga_chassis::InvalidValue;
use serde::{Deserialize, Serialize};

use crate::denoising::{GUIDANCE, JPEG_QUALITY, STEPS, STRENGTH};

/// What the configuration and a request's parameters may hold.
pub(super) const DETAIL: RangeInclusive<f32> = 0.0..=1.0;

/// Which model, where it runs, and what requests that say nothing get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalDiffusionConfig {
    /// A directory that the trainer wrote, loaded at start; empty: none until LoadModel is called.
    pub directory: PathBuf,
    /// "auto", "cpu", "cuda", or "cuda:N".
    pub device: String,
    /// "auto", "f32" or "bf16"; on a GPU "f16".
    pub precision: String,
    /// Steps from pure noise, 1 to 1000.
    pub steps: usize,
    /// How much further than without the class, 0 to 100; at most 1: not further.
    pub guidance: f64,
    /// Share of the steps that an edit takes, 0.01 (the source) to 1 (nothing of it).
    pub strength: f64,
    /// Share that is kept of what the source shows finer than the model sees, 0 to 1.
    pub detail: f32,
    /// Quality of the answer's JPEG, 50 to 100.
    pub jpeg_quality: u8,
}

impl LocalDiffusionConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// The first key whose value makes no sense.
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::unless_within("local_diffusion.steps", self.steps, STEPS)?;
        InvalidValue::unless_within("local_diffusion.guidance", self.guidance, GUIDANCE)?;
        InvalidValue::unless_within("local_diffusion.strength", self.strength, STRENGTH)?;
        InvalidValue::unless_within("local_diffusion.detail", self.detail, DETAIL)?;
        InvalidValue::unless_within(
            "local_diffusion.jpeg_quality",
            self.jpeg_quality,
            JPEG_QUALITY,
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use saga_chassis::ServiceConfig as _;

    #[test]
    fn values_that_cannot_be_name_their_key() {
        let key = |change: fn(&mut super::LocalDiffusionConfig)| {
            let mut config = Config::default();
            change(&mut config.local_diffusion);
            config.check().unwrap_err().key
        };
        assert_eq!(key(|c| c.steps = 0), "local_diffusion.steps");
        assert_eq!(key(|c| c.strength = 0.0), "local_diffusion.strength");
        assert_eq!(key(|c| c.detail = f32::NAN), "local_diffusion.detail");
    }
}
