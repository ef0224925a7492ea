//! What can be configured; `config.toml` beside this file documents every key and holds the defaults.

use saga_chassis::{
    InvalidValue, ModelConfig, ServerConfig, ServiceConfig, TelemetryConfig, config,
};
use saga_gate::Limits;
use saga_serving::Work;
use serde::{Deserialize, Serialize};

/// Configuration of clip-gate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where and how it listens.
    pub server: ServerConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// Default threshold.
    pub gate: Threshold,
    /// The model loaded at start.
    pub model: ModelConfig,
    /// What one image may cost.
    pub limits: Limits,
    /// Threads, queues and batches.
    pub work: Work,
    /// What is kept.
    pub cache: Cache,
}

/// Accepted where `min <= cosine`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Smallest cosine of image and prompt accepted, -1 to 1.
    pub min: f64,
}

/// What is kept.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Prompts whose embeddings are kept, a model; 0: none.
    pub prompts: usize,
}

impl Default for Config {
    fn default() -> Self {
        config::compiled_in()
    }
}

impl ServiceConfig for Config {
    const SERVICE: &'static str = "clip-gate";
    const ABOUT: &'static str =
        "Embeds images and texts with CLIP, and rejects candidates unlike their prompt";
    const DEFAULTS: &'static str = include_str!("config.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::unless_within("gate.min", self.gate.min, -1.0..=1.0)?;
        self.work.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_threshold_is_the_specified_one() {
        assert_eq!(Config::default().gate.min, 0.22);
    }
}
