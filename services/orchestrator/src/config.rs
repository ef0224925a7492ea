//! Configuration: addresses of the other services, leases and retries.

use std::{collections::BTreeMap, time::Duration};

use saga_chassis::{
    InvalidValue, ServerConfig, ServiceConfig, TelemetryConfig, config::compiled_in,
};
use serde::{Deserialize, Serialize};

/// The orchestrator's configuration; `config.toml` documents the keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub server: ServerConfig,
    /// Logs and spans.
    pub telemetry: TelemetryConfig,
    /// Where the other services are.
    pub addresses: Addresses,
    /// Recipes beside the compiled-in ones.
    pub recipes: Recipes,
    /// The guard's streams.
    pub guard: GuardConfig,
    /// Leases and memory of runs.
    pub run: RunConfig,
    /// Calls that found no room or no server.
    pub retry: RetryPolicy,
}

/// Where the other services are: `http://host:port`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// Makes candidates.
    pub generator: String,
    /// Quality gate.
    pub quality_gate: String,
    /// Structure gate.
    pub ssim_gate: String,
    /// Semantic gate.
    pub clip_gate: String,
    /// Confidence gate and classifier.
    pub vit_classifier: String,
    /// Trains models.
    pub trainer: String,
    /// Holds all state.
    pub label_store: String,
    /// Further gates by name.
    pub gates: BTreeMap<String, String>,
}

impl Addresses {
    /// The address behind a recipe's `gates.address`: a service's name, a key of `gates`, or a URL.
    pub fn of_gate<'a>(&'a self, reference: &'a str) -> Option<&'a str> {
        match reference {
            "quality-gate" => Some(&self.quality_gate),
            "ssim-gate" => Some(&self.ssim_gate),
            "clip-gate" => Some(&self.clip_gate),
            "vit-classifier" => Some(&self.vit_classifier),
            url if url.contains(':') => Some(url),
            name => self.gates.get(name).map(String::as_str),
        }
    }
}

/// The `[recipes]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipes {
    /// Folder of `NAME.toml` files; empty: none.
    pub folder: String,
    /// The guard's recipe where a candidate names none.
    pub default: String,
}

/// The `[guard]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardConfig {
    /// Candidates of one stream under way at once.
    pub in_flight: usize,
}

/// The `[run]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Name under which slots are leased.
    pub holder: String,
    /// Time a candidate may take.
    pub lease_seconds: u64,
    /// Most bytes of encoded images kept.
    pub image_cache_bytes: usize,
}

impl RunConfig {
    /// Time a candidate may take.
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }
}

/// The `[retry]` section.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Tries in all.
    pub attempts: u32,
    /// First pause.
    pub initial_milliseconds: u64,
    /// Longest pause.
    pub longest_milliseconds: u64,
}

impl ServiceConfig for Config {
    const SERVICE: &'static str = "orchestrator";
    const ABOUT: &'static str =
        "Runs the loop: plans, generates, guards, retrains and compares; hosts the guard";
    const DEFAULTS: &'static str = include_str!("config.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::unless_within("guard.in_flight", self.guard.in_flight, 1..=1_000)?;
        InvalidValue::unless_within("run.lease_seconds", self.run.lease_seconds, 1..=3_600)?;
        InvalidValue::unless_within("retry.attempts", self.retry.attempts, 1..=100)?;
        if self.run.holder.is_empty() {
            return Err(InvalidValue::new(
                "run.holder",
                "is empty; give this orchestrator a name of its own",
            ));
        }
        Ok(())
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
    fn a_gate_is_found_by_service_by_name_and_by_url() {
        let mut addresses = Config::default().addresses;
        addresses
            .gates
            .insert("sharpness".into(), "http://10.0.0.7:50051".into());
        assert_eq!(
            addresses.of_gate("clip-gate"),
            Some(addresses.clip_gate.as_str())
        );
        assert_eq!(
            addresses.of_gate("sharpness"),
            Some("http://10.0.0.7:50051")
        );
        assert_eq!(addresses.of_gate("127.0.0.1:7"), Some("127.0.0.1:7"));
        assert_eq!(addresses.of_gate("smell"), None);
    }
}
