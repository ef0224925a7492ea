//! Configuration: compiled-in defaults, overlaid by a file, by `SAGA_<SERVICE>__<SECTION>__<KEY>` and by flags.
//!
//! A service declares its defaults as one documented TOML and implements [`ServiceConfig`]. Every layer is checked as
//! soon as it is laid on, so an unknown key or a bad value is reported with the key and the layer it came from.

use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{args::CommonArgs, overlay};

/// The whole configuration of one service.
///
/// Implementors derive `Serialize` and `Deserialize` with `#[serde(deny_unknown_fields)]`; their [`DEFAULTS`] name every
/// key except those of `[server]` and `[telemetry]`, whose defaults this crate has.
///
/// [`DEFAULTS`]: ServiceConfig::DEFAULTS
pub trait ServiceConfig: DeserializeOwned + Serialize {
    /// The service's name, as its folder and binary: "label-store".
    const SERVICE: &'static str;
    /// One sentence for `--help`.
    const ABOUT: &'static str;
    /// Compiled-in TOML, documented.
    const DEFAULTS: &'static str;

    /// The `[telemetry]` section.
    fn telemetry(&self) -> &TelemetryConfig;

    /// Checks what types cannot: ranges and combinations.
    fn check(&self) -> Result<(), InvalidValue> {
        Ok(())
    }
}

/// The `[server]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address and port of `GET /metrics` over HTTP; port 0 takes a free one. `None`, "" in TOML: off.
    #[serde(with = "address")]
    pub metrics_listen: Option<SocketAddr>,
    /// Largest message taken or sent, in bytes.
    pub max_message_bytes: usize,
    /// Requests in flight on one connection.
    pub max_concurrent_streams: u32,
    /// Seconds between pings on a silent connection.
    pub keepalive_seconds: u64,
    /// Seconds the answer to a ping may take.
    pub keepalive_timeout_seconds: u64,
    /// Seconds that requests in flight have to finish after a stop was asked for.
    pub drain_seconds: u64,
    /// PEM file; empty: no TLS.
    pub tls_certificate: PathBuf,
    /// PEM file.
    pub tls_key: PathBuf,
    /// PEM file; empty: clients need no certificate.
    pub tls_client_ca: PathBuf,
    /// File holding the bearer token; empty: no token.
    pub token_file: PathBuf,
}

impl Default for ServerConfig {
    fn default() -> Self {
        compiled_in_shared().server
    }
}

/// The `[telemetry]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// A level or directives of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// How log lines look.
    pub format: LogFormat,
    /// OTLP/gRPC collector; empty: nothing is exported.
    pub otlp_endpoint: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        compiled_in_shared().telemetry
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The `[model]` section of services with weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Hugging Face model directory loaded at start; empty: none, until LoadModel is called.
    pub directory: PathBuf,
    /// Name the model of `directory` is loaded under.
    pub name: String,
    /// "auto", "cpu" or "cuda:N".
    pub device: String,
    /// "auto", "f32", "bf16"; on a GPU "f16".
    pub precision: String,
}

#[derive(Deserialize)]
struct Shared {
    server: ServerConfig,
    telemetry: TelemetryConfig,
}

#[allow(
    clippy::expect_used,
    reason = "a constant of this crate, checked by its tests"
)]
fn compiled_in_shared() -> Shared {
    toml::from_str(overlay::SHARED_DEFAULTS).expect("the compiled-in defaults are valid")
}

/// A service's compiled-in configuration; what its `Config::default()` returns.
///
/// # Panics
/// Where `DEFAULTS` is not a valid `C`: a mistake in the program, which every service's tests rule out by calling this.
#[must_use]
#[allow(clippy::panic, reason = "a constant of the program, not input")]
pub fn compiled_in<C: ServiceConfig>() -> C {
    match load_from::<C>(None, std::iter::empty(), &[]) {
        Ok(config) => config,
        Err(error) => panic!("{}: {error}", C::SERVICE),
    }
}

/// The effective configuration of this process.
///
/// # Errors
/// A layer that cannot be read, has an unknown key or a bad value; the message names both.
pub fn load<C: ServiceConfig>(common: &CommonArgs, flags: &[Flag]) -> Result<C, ConfigError> {
    let mut all = common.flags();
    all.extend_from_slice(flags);
    load_from(common.config.as_deref(), std::env::vars(), &all)
}

/// The configuration of one service among several in a process: compiled in, overlaid by `file` and the environment.
///
/// # Errors
/// As [`load`].
pub fn load_file<C: ServiceConfig>(file: Option<&std::path::Path>) -> Result<C, ConfigError> {
    load_from(file, std::env::vars(), &[])
}

/// As [`load`], with the environment handed in.
fn load_from<C: ServiceConfig>(
    file: Option<&std::path::Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &[Flag],
) -> Result<C, ConfigError> {
    let mut merged = overlay::Merged::new(C::DEFAULTS)?;
    let mut config = checked::<C>(&merged)?;
    if let Some(path) = file {
        merged.lay_file(path)?;
        config = checked(&merged)?;
    }
    for (variable, value) in overlay::variables_of(C::SERVICE, environment) {
        merged.lay_variable(&variable, &value)?;
        config = checked(&merged)?;
    }
    for flag in flags {
        merged.lay_flag(flag)?;
        config = checked(&merged)?;
    }
    Ok(config)
}

fn checked<C: ServiceConfig>(merged: &overlay::Merged) -> Result<C, ConfigError> {
    let layer = merged.latest();
    let config: C = merged
        .table()
        .clone()
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError::Invalid {
            layer,
            message: error.to_string().trim().replace('\n', " "),
        })?;
    config.check().map_err(|invalid| ConfigError::Invalid {
        layer: merged.latest(),
        message: invalid.to_string(),
    })?;
    Ok(config)
}

/// A command-line flag that sets a configuration key.
#[derive(Debug, Clone)]
pub struct Flag {
    /// As on the command line: "--listen".
    pub flag: &'static str,
    /// Dotted key: "server.listen".
    pub key: &'static str,
    /// The value as given.
    pub value: String,
}

/// A value of the right type that makes no sense.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{key}` {why}")]
pub struct InvalidValue {
    /// Dotted key.
    pub key: &'static str,
    /// What is wrong and what is allowed: "is 2.5; it must lie in 0 to 1".
    pub why: String,
}

impl InvalidValue {
    /// An invalid value of `key`.
    pub fn new(key: &'static str, why: impl Into<String>) -> Self {
        Self {
            key,
            why: why.into(),
        }
    }

    /// An error unless `value` lies within `range`.
    pub fn unless_within<T: PartialOrd + fmt::Display>(
        key: &'static str,
        value: T,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<(), Self> {
        if range.contains(&value) {
            return Ok(());
        }
        Err(Self::new(
            key,
            format!(
                "is {value}; it must lie in {} to {}",
                range.start(),
                range.end()
            ),
        ))
    }
}

/// Where a configuration value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// Compiled in.
    Defaults,
    /// The file given with `--config`.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("the compiled-in defaults"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {} cannot be read: {error}", path.display())]
    Unreadable {
        /// As given.
        path: PathBuf,
        /// From the operating system.
        error: std::io::Error,
    },
    /// Not TOML.
    #[error("{layer} is not valid TOML: {message}")]
    Syntax {
        /// Which layer.
        layer: Layer,
        /// From the parser, with line and column.
        message: String,
    },
    /// An unknown key, a wrong type or a value out of range.
    #[error("{layer}: {message}; --print-config shows all keys with their values")]
    Invalid {
        /// Which layer.
        layer: Layer,
        /// Names the key.
        message: String,
    },
}

mod address;
#[cfg(test)]
mod tests;
