//! Where the services of one process keep things and listen, and what that means for each one's configuration.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use saga_chassis::ServerConfig;

/// What the whole process is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the label store's database and images.
    pub state_dir: PathBuf,
    /// Folder that trained models are written below.
    pub models_dir: PathBuf,
    /// Folder of recipes beside those compiled in.
    pub recipes_dir: Option<PathBuf>,
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
    /// The `place`-th ports after the orchestrator's, on loopback.
    fn server(&self, place: u16) -> ServerConfig {
        let at = |first: u16| {
            let port = match first {
                0 => 0,
                first => first.saturating_add(place),
            };
            SocketAddr::from((Ipv4Addr::LOCALHOST, port))
        };
        ServerConfig {
            listen: at(self.port.unwrap_or(0)),
            metrics_listen: self.metrics_port.map(at),
            ..ServerConfig::default()
        }
    }

    pub(crate) fn orchestrator(&self, addresses: &Addresses) -> orchestrator::Config {
        let mut config = orchestrator::Config {
            server: self.server(0),
            ..Default::default()
        };
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
        config
    }

    pub(crate) fn generator(&self) -> generator::Config {
        generator::Config {
            server: self.server(1),
            ..Default::default()
        }
    }

    pub(crate) fn quality_gate(&self) -> quality_gate::Config {
        quality_gate::Config {
            server: self.server(7),
            ..Default::default()
        }
    }

    pub(crate) fn ssim_gate(&self) -> ssim_gate::Config {
        ssim_gate::Config {
            server: self.server(2),
            ..Default::default()
        }
    }

    pub(crate) fn clip_gate(&self) -> clip_gate::Config {
        let mut config = clip_gate::Config {
            server: self.server(3),
            ..Default::default()
        };
        self.place_model(&mut config.model);
        config
    }

    pub(crate) fn vit_classifier(&self) -> vit_classifier::Config {
        let mut config = vit_classifier::Config {
            server: self.server(4),
            ..Default::default()
        };
        self.place_model(&mut config.model);
        config
    }

    pub(crate) fn trainer(&self, label_store: &str) -> trainer::Config {
        let mut config = trainer::Config {
            server: self.server(5),
            ..Default::default()
        };
        config.models.directory.clone_from(&self.models_dir);
        config.label_store.address = label_store.to_owned();
        config.compute.device.clone_from(&self.device);
        config.compute.precision.clone_from(&self.precision);
        config
    }

    pub(crate) fn label_store(&self) -> label_store::Config {
        let mut config = label_store::Config {
            server: self.server(6),
            ..Default::default()
        };
        config.store.data_dir.clone_from(&self.state_dir);
        config
    }

    fn place_model(&self, model: &mut saga_chassis::ModelConfig) {
        model.device.clone_from(&self.device);
        model.precision.clone_from(&self.precision);
    }
}
