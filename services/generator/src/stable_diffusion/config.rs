//! The `[stable_diffusion]` section.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use saga_chassis::InvalidValue;
use saga_models::diffusion::lora::Lora;
use saga_models::diffusion::scheduler::Kind;
use serde::{Deserialize, Serialize};

use crate::denoising::{GUIDANCE, JPEG_QUALITY, STEPS, STRENGTH};

// What the configuration and a request's parameters may hold.
pub(super) const IMAGE_GUIDANCE: RangeInclusive<f64> = 1.0..=100.0;
pub(super) const SIZE: RangeInclusive<u32> = 64..=2048;

/// Which pipeline, where it runs, and what requests that say nothing get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StableDiffusionConfig {
    /// A diffusers directory; empty: there is no such backend.
    pub directory: PathBuf,
    /// Changes to merge into its weights.
    pub loras: Vec<LoraConfig>,
    /// "auto", "cpu", "cuda", or "cuda:N".
    pub device: String,
    /// "auto", "f32" or "bf16"; on a GPU "f16".
    pub precision: String,
    /// Pictures made at once; 0: what suits the device.
    pub max_batch: usize,
    /// Whether pictures larger than those of training go through the autoencoder in tiles.
    pub tiling: bool,
    /// "pndm", "ddim", "euler-a" or "dpm++2m"; empty: the directory's own.
    pub scheduler: String,
    /// Steps from pure noise, 1 to 1000.
    pub steps: usize,
    /// How much further than without the prompt, 0 to 100; at most 1: not further.
    pub guidance: f64,
    /// How closely an instructed edit follows its source, 1 to 100.
    pub image_guidance: f64,
    /// Share of the steps that an edit takes, 0.01 (the source) to 1 (nothing of it).
    pub strength: f64,
    /// What pictures should not show.
    pub negative_prompt: String,
    /// Longest side in pixels, 64 to 2048, a multiple of 8.
    pub size: u32,
    /// Quality of the answer's JPEG, 50 to 100.
    pub jpeg_quality: u8,
}

/// A file of LoRA weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// As diffusers, PEFT or kohya-ss writes it.
    pub path: PathBuf,
    /// How strongly it is applied, 1 as trained.
    pub scale: f64,
}

impl StableDiffusionConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// The first key whose value makes no sense.
    pub fn check(&self) -> Result<(), InvalidValue> {
        let within = InvalidValue::unless_within;
        if !self.scheduler.is_empty() {
            let known = self.scheduler.parse::<Kind>();
            known.map_err(|error| {
                InvalidValue::new("stable_diffusion.scheduler", error.to_string())
            })?;
        }
        within("stable_diffusion.guidance", self.guidance, GUIDANCE)?;
        within(
            "stable_diffusion.image_guidance",
            self.image_guidance,
            IMAGE_GUIDANCE,
        )?;
        within("stable_diffusion.strength", self.strength, STRENGTH)?;
        InvalidValue::unless_within("stable_diffusion.steps", self.steps, STEPS)?;
        InvalidValue::unless_within("stable_diffusion.max_batch", self.max_batch, 0..=256)?;
        InvalidValue::unless_within(
            "stable_diffusion.jpeg_quality",
            self.jpeg_quality,
            JPEG_QUALITY,
        )?;
        InvalidValue::unless_within("stable_diffusion.size", self.size, SIZE)?;
        if !self.size.is_multiple_of(8) {
            let why = format!("is {}; it must be a multiple of 8", self.size);
            return Err(InvalidValue::new("stable_diffusion.size", why));
        }
        for lora in &self.loras {
            within("stable_diffusion.loras.scale", lora.scale, -10.0..=10.0)?;
        }
        Ok(())
    }

    /// The changes of weights.
    pub(super) fn loras(&self) -> Vec<Lora> {
        let lora = |config: &LoraConfig| Lora {
            path: config.path.clone(),
            scale: config.scale,
        };
        self.loras.iter().map(lora).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use saga_chassis::ServiceConfig as _;

    #[test]
    fn values_that_cannot_be_name_their_key() {
        let key = |change: fn(&mut super::StableDiffusionConfig)| {
            let mut config = Config::default();
            change(&mut config.stable_diffusion);
            config.check().unwrap_err().key
        };
        assert_eq!(key(|c| c.size = 100), "stable_diffusion.size");
        assert_eq!(key(|c| c.strength = 0.0), "stable_diffusion.strength");
        assert_eq!(key(|c| c.strength = 1.5), "stable_diffusion.strength");
        assert_eq!(
            key(|c| c.scheduler = "lms".into()),
            "stable_diffusion.scheduler"
        );
        assert_eq!(key(|c| c.guidance = f64::NAN), "stable_diffusion.guidance");
    }
}
