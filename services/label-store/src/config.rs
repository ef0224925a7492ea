//! The configuration: `config.toml` compiled in, overlaid by file, environment and flags.

use std::path::{Path, PathBuf};

use saga_chassis::{InvalidValue, ServerConfig, ServiceConfig, TelemetryConfig};
use saga_imaging::DecodeLimits;
use saga_provenance::{Identity, ProvenanceError};
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub store: StoreConfig,
    pub images: ImageLimits,
    pub provenance: ProvenanceConfig,
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
}

/// The `[store]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Folder of the database and of the images.
    pub data_dir: PathBuf,
    /// Folders that data sets may be imported from; empty: any.
    pub import_roots: Vec<PathBuf>,
}

/// The `[images]` section: what an image may be at most, checked before its pixels are decoded.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageLimits {
    pub max_bytes: usize,
    /// Width times height.
    pub max_pixels: u64,
    /// Longest side in pixels.
    pub max_side: u32,
    /// Frames of an animation; the first is used.
    pub max_frames: u32,
}

impl ImageLimits {
    /// The same for the decoder.
    pub fn decode_limits(&self) -> DecodeLimits {
        DecodeLimits {
            max_bytes: self.max_bytes,
            max_pixels: self.max_pixels,
            max_side: self.max_side,
            max_frames: self.max_frames,
        }
    }
}

/// The `[provenance]` section: what signs the images of exports.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenanceConfig {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PKCS #8 PEM.
    pub key: PathBuf,
}

impl ProvenanceConfig {
    /// The configured identity, else the one kept in `folder`.
    pub(crate) fn identity(&self, folder: &Path) -> Result<Identity, ProvenanceError> {
        if self.certificate.as_os_str().is_empty() {
            return Identity::kept_in(folder);
        }
        Identity::from_files(&self.certificate, &self.key)
    }
}

impl ServiceConfig for Config {
    const SERVICE: &'static str = "label-store";
    const ABOUT: &'static str =
        "Keeps data sets, runs, slots and candidates, and admits synthetic images exactly once.";
    const DEFAULTS: &'static str = include_str!("config.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn check(&self) -> Result<(), InvalidValue> {
        let ProvenanceConfig { certificate, key } = &self.provenance;
        if certificate.as_os_str().is_empty() != key.as_os_str().is_empty() {
            return Err(InvalidValue::new(
                "provenance.key",
                "and provenance.certificate belong together; set both or neither",
            ));
        }
        InvalidValue::unless_within("images.max_bytes", self.images.max_bytes, 1..=1 << 30)?;
        InvalidValue::unless_within("images.max_pixels", self.images.max_pixels, 1..=1 << 32)?;
        InvalidValue::unless_within("images.max_side", self.images.max_side, 1..=1 << 20)?;
        InvalidValue::unless_within("images.max_frames", self.images.max_frames, 1..=1 << 20)
    }
}

impl Default for Config {
    fn default() -> Self {
        saga_chassis::config::compiled_in()
    }
}
