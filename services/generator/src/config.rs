//! The configuration: `config.toml` compiled in, overlaid by file, environment and flags.

use saga_chassis::{InvalidValue, ServerConfig, ServiceConfig, TelemetryConfig};
use saga_imaging::DecodeLimits;
use serde::{Deserialize, Serialize};

use crate::exemplar_backend::ExemplarConfig;
use crate::local_diffusion::LocalDiffusionConfig;
use crate::remote::RemoteConfig;
use crate::remote::gemini::GeminiConfig;
use crate::remote::openai::OpenAiConfig;
use crate::stable_diffusion::StableDiffusionConfig;
use crate::studio::FaultRates;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    pub work: WorkConfig,
    pub limits: LimitsConfig,
    pub studio: StudioConfig,
    pub exemplar: ExemplarConfig,
    pub remote: RemoteConfig,
    pub gemini: GeminiConfig,
    pub openai: OpenAiConfig,
    pub stable_diffusion: StableDiffusionConfig,
    pub local_diffusion: LocalDiffusionConfig,
}

/// The `[work]` section.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkConfig {
    /// Threads that edit and render; 0: one for each core.
    pub workers: usize,
    /// Requests under way or waiting for a thread.
    pub queue_capacity: usize,
    /// Requests of one stream that are under way at the same time.
    pub max_in_flight: usize,
}

/// The `[limits]` section: what a request may hold, checked before any work.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Encoded bytes of one image.
    pub max_image_bytes: usize,
    /// Width times height.
    pub max_pixels: u64,
    /// Longest side in pixels.
    pub max_side: u32,
    /// Frames of an animation; the first is used.
    pub max_frames: u32,
    /// Exemplars of one request.
    pub max_exemplars: usize,
    /// Bytes of a prompt.
    pub max_prompt_bytes: usize,
}

/// The `[studio]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudioConfig {
    /// How often edits are spoilt, and how.
    pub faults: FaultRates,
}

impl LimitsConfig {
    /// The same for the decoder.
    pub fn decode_limits(&self) -> DecodeLimits {
        DecodeLimits {
            max_bytes: self.max_image_bytes,
            max_pixels: self.max_pixels,
            max_side: self.max_side,
            max_frames: self.max_frames,
        }
    }
}

impl ServiceConfig for Config {
    const SERVICE: &'static str = "generator";
    const ABOUT: &'static str =
        "Makes candidates: an image of a source and a target class in, an edited image out.";
    const DEFAULTS: &'static str = include_str!("config.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::unless_within("work.workers", self.work.workers, 0..=1024)?;
        InvalidValue::unless_within("work.queue_capacity", self.work.queue_capacity, 1..=65_536)?;
        InvalidValue::unless_within("work.max_in_flight", self.work.max_in_flight, 1..=4096)?;
        InvalidValue::unless_within(
            "limits.max_image_bytes",
            self.limits.max_image_bytes,
            1..=1 << 30,
        )?;
        InvalidValue::unless_within("limits.max_pixels", self.limits.max_pixels, 1..=1 << 32)?;
        InvalidValue::unless_within("limits.max_side", self.limits.max_side, 1..=1 << 16)?;
        InvalidValue::unless_within("limits.max_frames", self.limits.max_frames, 1..=1 << 20)?;
        InvalidValue::unless_within("limits.max_exemplars", self.limits.max_exemplars, 1..=1024)?;
        InvalidValue::unless_within(
            "limits.max_prompt_bytes",
            self.limits.max_prompt_bytes,
            1..=1 << 20,
        )?;
        self.studio
            .faults
            .validate()
            .map_err(|error| InvalidValue::new("studio.faults", format!("is unsound: {error}")))?;
        self.exemplar.check()?;
        self.remote.check()?;
        self.gemini.check()?;
        self.openai.check()?;
        self.stable_diffusion.check()?;
        self.local_diffusion.check()
    }
}

impl Default for Config {
    fn default() -> Self {
        saga_chassis::config::compiled_in()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_defaults_hold_and_agree_with_the_studio() {
        let config = Config::default();
        assert!(config.check().is_ok());
        assert_eq!(config.studio.faults, FaultRates::default());
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        let mut config = Config::default();
        config.exemplar.min_strength = 1.5;
        assert_eq!(config.check().unwrap_err().key, "exemplar.min_strength");
        config = Config::default();
        config.studio.faults.blurred = 2.0;
        assert_eq!(config.check().unwrap_err().key, "studio.faults");
    }
}
