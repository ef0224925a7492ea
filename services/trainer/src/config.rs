//! Configuration of the trainer: `config.toml`, documented there, overlaid by file, variables and flags.

use std::path::PathBuf;

use saga_chassis::{
    InvalidValue, ServerConfig, ServiceConfig, TelemetryConfig, config::compiled_in,
};
use serde::{Deserialize, Serialize};

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    pub models: Models,
    pub label_store: LabelStore,
    pub compute: Compute,
    pub checkpoints: Checkpoints,
    pub limits: Limits,
}

/// Where models go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    pub directory: PathBuf,
}

/// Where images come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelStore {
    pub address: String,
}

/// What trains.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compute {
    pub device: String,
    pub precision: String,
    pub threads: usize,
    pub jobs: usize,
}

/// What is left of a training that is killed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoints {
    pub every_seconds: f64,
}

/// What a job may take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub max_cache_bytes: u64,
}

impl ServiceConfig for Config {
    const SERVICE: &'static str = "trainer";
    const ABOUT: &'static str = "Trains ViT classifiers, small CLIP and small diffusion models from the label store's splits.";
    const DEFAULTS: &'static str = include_str!("config.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::unless_within("compute.jobs", self.compute.jobs, 1..=64)?;
        InvalidValue::unless_within("compute.threads", self.compute.threads, 0..=1024)?;
        let seconds = self.checkpoints.every_seconds;
        InvalidValue::unless_within("checkpoints.every_seconds", seconds, 0.0..=86_400.0)
    }
}

impl Default for Config {
    fn default() -> Self {
        compiled_in()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_defaults_are_valid() {
        assert!(Config::default().check().is_ok());
    }

    #[test]
    fn no_jobs_is_refused() {
        let mut config = Config::default();
        config.compute.jobs = 0;
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .contains("compute.jobs")
        );
    }
}
