//! Command-line flags that services share.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::config::Flag;

/// Flags of every service.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonArgs {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Address and port to serve Prometheus metrics on (GET /metrics); off where not set.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<SocketAddr>,
    /// TOML file laid over the compiled-in defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the effective configuration as TOML and exit.
    #[arg(long)]
    pub print_config: bool,
}

impl CommonArgs {
    /// The flags that set configuration keys.
    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        given([
            ("--listen", "server.listen", text(self.listen)),
            (
                "--metrics-listen",
                "server.metrics_listen",
                text(self.metrics_listen),
            ),
        ])
    }
}

/// Flags of services with weights; they set the `[model]` section.
#[derive(Debug, Clone, Default, Args)]
pub struct ModelArgs {
    /// Hugging Face model directory to load at start.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// auto, cpu or cuda:N.
    #[arg(long)]
    pub device: Option<String>,
    /// auto, f32, bf16; on a GPU f16; on a CPU int8.
    #[arg(long)]
    pub precision: Option<String>,
}

impl ModelArgs {
    /// The flags that set configuration keys.
    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        let directory = self.model.as_ref().map(|path| path.display().to_string());
        given([
            ("--model", "model.directory", directory),
            ("--device", "model.device", self.device.clone()),
            ("--precision", "model.precision", self.precision.clone()),
        ])
    }
}

/// What a service's own argument parser tells the chassis.
pub trait ServiceArgs: Args {
    /// The flags that all services share.
    fn common(&self) -> &CommonArgs;
    /// The service's own flags that set configuration keys.
    fn flags(&self) -> Vec<Flag> {
        Vec::new()
    }
}

/// Arguments of a service with no flags of its own.
impl ServiceArgs for CommonArgs {
    fn common(&self) -> &CommonArgs {
        self
    }
}

/// Arguments of a service with weights and no flags of its own.
#[derive(Debug, Clone, Default, Args)]
pub struct ModelServiceArgs {
    /// Flags of every service.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Flags of services with weights.
    #[command(flatten)]
    pub model: ModelArgs,
}

impl ServiceArgs for ModelServiceArgs {
    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn flags(&self) -> Vec<Flag> {
        self.model.flags()
    }
}

/// Keeps the flags that were given.
pub fn given(
    flags: impl IntoIterator<Item = (&'static str, &'static str, Option<String>)>,
) -> Vec<Flag> {
    flags
        .into_iter()
        .filter_map(|(flag, key, value)| {
            Some(Flag {
                flag,
                key,
                value: value?,
            })
        })
        .collect()
}
