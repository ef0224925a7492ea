//! Every SAGA service in one process, as a container's entry point; on a terminal, `saga up` does the same.

use std::path::PathBuf;

use all_in_one::{AllInOne, Options};
use clap::Parser;
use tokio_util::sync::CancellationToken;

/// Serves every SAGA service in one process, on loopback.
#[derive(Debug, Parser)]
#[command(name = "all-in-one", version)]
struct Args {
    /// Folder of the label store and of the models.
    #[arg(long, default_value = "saga-data")]
    data: PathBuf,
    /// Port of the orchestrator; the other services take the ports after it.
    #[arg(long, default_value_t = 50050)]
    port: u16,
    /// Port of the orchestrator's Prometheus metrics; the other services take the ports after it. Off where not set.
    #[arg(long)]
    metrics_port: Option<u16>,
    /// Where the models run: auto, cpu or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Arithmetic of the models: auto, f32, bf16, f16 or int8.
    #[arg(long, default_value = "auto")]
    precision: String,
    /// Folder of recipes beside those compiled in.
    #[arg(long)]
    recipes: Option<PathBuf>,
    /// Folder of configuration files, each named like its service: generator.toml. Variables like
    /// SAGA_GENERATOR__GEMINI__KEYS_FILE go first.
    #[arg(long)]
    config_dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let services = AllInOne::start(Options {
        state_dir: args.data.join("state"),
        models_dir: args.data.join("models"),
        recipes_dir: args.recipes,
        config_dir: args.config_dir,
        device: args.device,
        precision: args.precision,
        port: Some(args.port),
        metrics_port: args.metrics_port,
    })
    .await?;
    for (service, address) in services.addresses().named() {
        println!("{service} {address}");
    }
    for (service, address) in services.metrics_addresses() {
        println!(
            "{service} metrics http://{address}{}",
            saga_chassis::metrics::PATH
        );
    }
    let stop = CancellationToken::new();
    saga_chassis::signals::cancel_on_stop(stop.clone())?;
    stop.cancelled().await;
    services.stop().await?;
    saga_chassis::end_with_workers();
    Ok(())
}
