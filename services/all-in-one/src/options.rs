//! Where the services of one process keep things and listen, and what that means for each one's configuration.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use saga_chassis::{
    ServerConfig, ServiceConfig,
    config::{self, ConfigError},
};

/// What the whole process is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the label store's database and images.
    pub state_dir: PathBuf,
    /// Folder that trained models are written below.
    pub models_dir: PathBuf,
    /// Folder of recipes beside those compiled in.
    pub recipes_dir: Option<PathBuf>,
    /// Folder of configuration files, each named like its service: `generator.toml`. What this process decides, folders,
    /// ports and addresses, goes first.
    pub config_dir: Option<PathBuf>,
    /// "auto", "cpu" or "cuda:N".
    pub device: String,
    /// "auto", "f32" or "bf16".
    pub precision: String,
    /// Port of the orchestrator, the others on those after it; `None`: free ports.
    pub port: Option<u16>,
    /// Port of the orchestrator's Prometheus metrics, the others' on those after it (0: free ones); `None`: off.
    pub metrics_port: Option<u16>,
}

/// Where the services listen: `http://host:port`.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub orchestrator: String,
    pub generator: String,
    pub quality_gate: String,
    pub ssim_gate: String,
    pub clip_gate: String,
    pub vit_classifier: String,
    pub trainer: String,
    pub label_store: String,
}

impl Addresses {
    /// Service and address, the orchestrator first.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("orchestrator", self.orchestrator.as_str()),
            ("generator", &self.generator),
            ("quality-gate", &self.quality_gate),
            ("ssim-gate", &self.ssim_gate),
            ("clip-gate", &self.clip_gate),
            ("vit-classifier", &self.vit_classifier),
            ("trainer", &self.trainer),
            ("label-store", &self.label_store),
        ]
        .into_iter()
    }
}

impl Options {
    /// A service's configuration: its file, where there is one, and its environment variables.
    fn load<C: ServiceConfig>(&self) -> Result<C, ConfigError> {
        let file = self
            .config_dir
            .as_ref()
            .map(|folder| folder.join(C::SERVICE).with_extension("toml"));
        config::load_file(file.filter(|file| file.exists()).as_deref())
    }

    /// The `place`-th ports after the orchestrator's, on loopback.
    fn place(&self, server: &mut ServerConfig, place: u16) {
        server.listen = after(self.port.unwrap_or(0), place);
        server.metrics_listen = self.metrics_port.map(|first| after(first, place));
    }

    pub(crate) fn orchestrator(
        &self,
        addresses: &Addresses,
    ) -> Result<orchestrator::Config, ConfigError> {
        let mut config: orchestrator::Config = self.load()?;
        self.place(&mut config.server, 0);
        if let Some(folder) = &self.recipes_dir {
            config.recipes.folder = folder.display().to_string();
        }
        config.addresses.generator.clone_from(&addresses.generator);
        config
            .addresses
            .quality_gate
            .clone_from(&addresses.quality_gate);
        config.addresses.ssim_gate.clone_from(&addresses.ssim_gate);
        config.addresses.clip_gate.clone_from(&addresses.clip_gate);
        config
            .addresses
            .vit_classifier
            .clone_from(&addresses.vit_classifier);
        config.addresses.trainer.clone_from(&addresses.trainer);
        config
            .addresses
            .label_store
            .clone_from(&addresses.label_store);
        Ok(config)
    }

    pub(crate) fn generator(&self, label_store: &str) -> Result<generator::Config, ConfigError> {
        let mut config: generator::Config = self.load()?;
        self.place(&mut config.server, 1);
        config.remote.ledger = label_store.to_owned();
        config.local_diffusion.device.clone_from(&self.device);
        config.local_diffusion.precision.clone_from(&self.precision);
        Ok(config)
    }

    pub(crate) fn quality_gate(&self) -> Result<quality_gate::Config, ConfigError> {
        let mut config: quality_gate::Config = self.load()?;
        self.place(&mut config.server, 7);
        Ok(config)
    }

    pub(crate) fn ssim_gate(&self) -> Result<ssim_gate::Config, ConfigError> {
        let mut config: ssim_gate::Config = self.load()?;
        self.place(&mut config.server, 2);
        Ok(config)
    }

    pub(crate) fn clip_gate(&self) -> Result<clip_gate::Config, ConfigError> {
        let mut config: clip_gate::Config = self.load()?;
        self.place(&mut config.server, 3);
        self.place_model(&mut config.model);
        Ok(config)
    }

    pub(crate) fn vit_classifier(
        &self,
        label_store: &str,
    ) -> Result<vit_classifier::Config, ConfigError> {
        let mut config: vit_classifier::Config = self.load()?;
        if !config.registry.name.is_empty() && config.registry.address.is_empty() {
            label_store.clone_into(&mut config.registry.address);
        }
        self.place(&mut config.server, 4);
        self.place_model(&mut config.model);
        Ok(config)
    }

    pub(crate) fn trainer(&self, label_store: &str) -> Result<trainer::Config, ConfigError> {
        let mut config: trainer::Config = self.load()?;
        self.place(&mut config.server, 5);
        config.models.directory.clone_from(&self.models_dir);
        config.label_store.address = label_store.to_owned();
        config.compute.device.clone_from(&self.device);
        config.compute.precision.clone_from(&self.precision);
        Ok(config)
    }

    pub(crate) fn label_store(&self) -> Result<label_store::Config, ConfigError> {
        let mut config: label_store::Config = self.load()?;
        self.place(&mut config.server, 6);
        config.store.data_dir.clone_from(&self.state_dir);
        Ok(config)
    }

    fn place_model(&self, model: &mut saga_chassis::ModelConfig) {
        model.device.clone_from(&self.device);
        model.precision.clone_from(&self.precision);
    }
}

/// The `place`-th port after `first` on loopback; a free one where that is 0.
fn after(first: u16, place: u16) -> SocketAddr {
    let port = match first {
        0 => 0,
        first => first.saturating_add(place),
    };
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
