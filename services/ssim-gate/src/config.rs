//! What can be configured; `config.toml` beside this file documents every key and holds the defaults.

use saga_chassis::{InvalidValue, ServerConfig, ServiceConfig, TelemetryConfig, config};
use saga_gate::Limits;
use serde::{Deserialize, Serialize};

/// Configuration of ssim-gate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where and how it listens.
    pub server: ServerConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// Default thresholds.
    pub gate: Thresholds,
    /// What one image may cost.
    pub limits: Limits,
    /// Threads, queue and cache.
    pub work: Work,
}

/// Default thresholds: accepted where `min <= SSIM <= max`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Smallest SSIM accepted, -1 to 1.
    pub min: f64,
    /// Largest SSIM accepted, -1 to 1.
    pub max: f64,
}

/// Threads, queue and cache.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Threads; 0: one for each core.
    pub workers: usize,
    /// Items that wait.
    pub queue_capacity: usize,
    /// Items of one stream under way at the same time.
    pub max_in_flight: usize,
    /// Bytes of decoded sources that are kept.
    pub cache_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        config::compiled_in()
    }
}

impl ServiceConfig for Config {
    const SERVICE: &'static str = "ssim-gate";
    const ABOUT: &'static str =
        "Rejects candidates that lost the source's structure, or that did not change";
    const DEFAULTS: &'static str = include_str!("config.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::unless_within("gate.min", self.gate.min, -1.0..=1.0)?;
        InvalidValue::unless_within("gate.max", self.gate.max, self.gate.min..=1.0)?;
        InvalidValue::unless_within(
            "work.queue_capacity",
            self.work.queue_capacity,
            1..=1_000_000,
        )?;
        InvalidValue::unless_within("work.max_in_flight", self.work.max_in_flight, 1..=1_000_000)?;
        InvalidValue::unless_within("work.workers", self.work.workers, 0..=1024)
    }
}

#[cfg(test)]
mod tests {
    use saga_imaging::DecodeLimits;

    use super::*;

    #[test]
    fn the_defaults_are_the_specified_band_and_valid() {
        let config = Config::default();
        assert_eq!((config.gate.min, config.gate.max), (0.35, 0.95));
        assert_eq!(config.limits.decode(), DecodeLimits::default());
        assert!(config.check().is_ok());
    }

    #[test]
    fn a_minimum_above_the_maximum_is_named() {
        let mut config = Config::default();
        config.gate.max = 0.2;
        assert_eq!(config.check().unwrap_err().key, "gate.max");
    }
}
