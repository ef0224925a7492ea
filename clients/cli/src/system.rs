//! The services a command talks to: running ones by address, or all of them inside this process, over the same gRPC.

use std::path::{Path, PathBuf};

use all_in_one::AllInOne;
use anyhow::{Context as _, Result, bail};
use saga_client::Transport;

use crate::args::Global;

/// Connections to the services, and the services themselves where this process runs them.
pub struct System {
    pub orchestrator: Transport,
    pub label_store: Transport,
    pub generator: Transport,
    pub classifier: Transport,
    local: Option<AllInOne>,
}

/// Folders of the services inside this process.
pub struct Folders {
    pub state: PathBuf,
    pub models: PathBuf,
}

impl Folders {
    /// `state` and `models` below the folder of a run's results.
    pub fn below(out: &Path) -> Self {
        Self {
            state: out.join("state"),
            models: out.join("models"),
        }
    }
}

impl System {
    /// Connects to the addresses given, or starts every service in this process where none is.
    pub async fn open(global: &Global, folders: Folders) -> Result<Self> {
        let given = &global.addresses;
        match (
            &given.orchestrator_address,
            &given.label_store_address,
            &given.generator_address,
            &given.classifier_address,
        ) {
            (Some(orchestrator), Some(label_store), Some(generator), Some(classifier)) => {
                Ok(Self {
                    orchestrator: saga_client::connect(orchestrator).await?,
                    label_store: saga_client::connect(label_store).await?,
                    generator: saga_client::connect(generator).await?,
                    classifier: saga_client::connect(classifier).await?,
                    local: None,
                })
            }
            (None, None, None, None) => Self::start(global, folders, None, None).await,
            _ => bail!(
                "give the addresses of all running services (--orchestrator-address, --label-store-address, --generator-address, --classifier-address), or of none"
            ),
        }
    }

    /// Starts every service in this process; on `port` and those after it, or on free ports. Metrics are served on
    /// `metrics_port` and those after it, or not at all.
    pub async fn start(
        global: &Global,
        folders: Folders,
        port: Option<u16>,
        metrics_port: Option<u16>,
    ) -> Result<Self> {
        let local = AllInOne::start(all_in_one::Options {
            state_dir: absolute(&folders.state)?,
            models_dir: absolute(&folders.models)?,
            recipes_dir: None,
            config_dir: global.config_dir.clone(),
            device: global.device.clone(),
            precision: global.precision.clone(),
            port,
            metrics_port,
        })
        .await
        .context("cannot start the services in this process")?;
        let addresses = local.addresses();
        Ok(Self {
            orchestrator: saga_client::connect(&addresses.orchestrator).await?,
            label_store: saga_client::connect(&addresses.label_store).await?,
            generator: saga_client::connect(&addresses.generator).await?,
            classifier: saga_client::connect(&addresses.vit_classifier).await?,
            local: Some(local),
        })
    }

    /// The services of this process, where it runs them.
    pub fn local(&self) -> Option<&AllInOne> {
        self.local.as_ref()
    }

    /// Drains and stops what this process runs.
    pub async fn stop(self) -> Result<()> {
        match self.local {
            Some(local) => local.stop().await,
            None => Ok(()),
        }
    }
}

/// `path` from the root, without asking that it exists.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot tell where `{}` is", path.display()))
}

/// `path` as the services take it.
pub fn path_text(path: &Path) -> Result<String> {
    let path = absolute(path)?;
    match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => bail!("`{}` is not valid UTF-8; rename it", path.display()),
    }
}
