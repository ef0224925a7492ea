//! What can be configured; `config.toml` beside this file documents every key and holds the defaults.

use saga_chassis::{InvalidValue, ServerConfig, ServiceConfig, TelemetryConfig, config};
use saga_gate::Limits;
use serde::{Deserialize, Serialize};

use crate::gate::LARGEST_SHARPNESS;

/// Configuration of quality-gate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where and how it listens.
    pub server: ServerConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// What is accepted.
    pub gate: Thresholds,
    /// What one image may cost.
    pub limits: Limits,
    /// Threads and queue.
    pub work: Work,
}

/// What is accepted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Smallest variance of the Laplacian.
    pub min: f64,
    /// Pixels of the shorter side when it is measured.
    pub measured_side: u32,
    /// Shortest side in pixels.
    pub min_side: u32,
    /// Exactly this many faces; 0: not counted.
    pub faces: u32,
}

/// Threads and queue.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Threads; 0: one for each core.
    pub workers: usize,
    /// Items that wait.
    pub queue_capacity: usize,
    /// Items of one stream under way at the same time.
    pub max_in_flight: usize,
}

impl Default for Config {
    fn default() -> Self {
        config::compiled_in()
    }
}

impl ServiceConfig for Config {
    const SERVICE: &'static str = "quality-gate";
    const ABOUT: &'static str =
        "Rejects candidates that are too small or too blurred to learn from";
    const DEFAULTS: &'static str = include_str!("config.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn check(&self) -> Result<(), InvalidValue> {
        let (gate, work) = (&self.gate, &self.work);
        InvalidValue::unless_within("gate.min", gate.min, 0.0..=LARGEST_SHARPNESS)?;
        InvalidValue::unless_within("gate.measured_side", gate.measured_side, 16..=1024)?;
        InvalidValue::unless_within("gate.min_side", gate.min_side, 1..=16_384)?;
        InvalidValue::unless_within("gate.faces", gate.faces, 0..=16)?;
        InvalidValue::unless_within("work.queue_capacity", work.queue_capacity, 1..=1_000_000)?;
        InvalidValue::unless_within("work.max_in_flight", work.max_in_flight, 1..=1_000_000)?;
        InvalidValue::unless_within("work.workers", work.workers, 0..=1024)
    }
}

#[cfg(test)]
mod tests {
    use saga_imaging::DecodeLimits;

    use super::*;

    #[test]
    fn the_defaults_are_the_specified_bounds_and_valid() {
        let config = Config::default();
        assert_eq!((config.gate.min, config.gate.measured_side), (60.0, 96));
        assert_eq!(config.limits.decode(), DecodeLimits::default());
        assert!(config.check().is_ok());
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        let refused = |change: fn(&mut Thresholds)| {
            let mut config = Config::default();
            change(&mut config.gate);
            config.check().unwrap_err().key
        };
        assert_eq!(refused(|gate| gate.min = -1.0), "gate.min");
        assert_eq!(refused(|gate| gate.min = f64::NAN), "gate.min");
        assert_eq!(refused(|gate| gate.measured_side = 4), "gate.measured_side");
        assert_eq!(refused(|gate| gate.min_side = 0), "gate.min_side");
        assert_eq!(refused(|gate| gate.faces = 17), "gate.faces");
    }
}
