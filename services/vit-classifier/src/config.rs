//! What can be configured; `config.toml` beside this file documents every key and holds the defaults.

use saga_chassis::{
    InvalidValue, ModelConfig, ServerConfig, ServiceConfig, TelemetryConfig, config,
};
use saga_gate::Limits;
use saga_serving::{Follow, Work};
use serde::{Deserialize, Serialize};

/// Configuration of vit-classifier.
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
    /// The model registry that is followed.
    pub registry: Follow,
    /// What one image may cost.
    pub limits: Limits,
    /// Threads, queues and batches.
    pub work: Work,
}

/// Accepted where `min <= probability`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Smallest probability of the target label accepted, 0 to 1.
    pub min: f64,
}

impl Default for Config {
    fn default() -> Self {
        config::compiled_in()
    }
}

impl ServiceConfig for Config {
    const SERVICE: &'static str = "vit-classifier";
    const ABOUT: &'static str =
        "Classifies images, and rejects candidates that do not show their target label";
    const DEFAULTS: &'static str = include_str!("config.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::unless_within("gate.min", self.gate.min, 0.0..=1.0)?;
        self.registry.check()?;
        self.work.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_threshold_is_the_specified_one() {
        assert_eq!(Config::default().gate.min, 0.65);
    }
}
