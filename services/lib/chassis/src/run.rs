//! What each service's `main` calls: arguments, configuration, telemetry, then the service until it is told to stop.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Command;
use tokio_util::sync::CancellationToken;

use crate::{Running, ServiceConfig, args::ServiceArgs, config, metrics, signals, telemetry};

/// Runs one service as a process.
///
/// `A` are its arguments ([`CommonArgs`](crate::CommonArgs) or [`ModelServiceArgs`](crate::args::ModelServiceArgs) where
/// it has none of its own), `C` its configuration, and `start` what all-in-one calls too. Exit codes: 0 after a graceful
/// stop, 2 for a bad configuration or command line, 1 for everything else.
///
/// ```ignore
/// fn main() -> std::process::ExitCode {
///     saga_chassis::main_of::<ModelServiceArgs, vit_classifier::Config, _, _>(vit_classifier::start)
/// }
/// ```
pub fn main_of<A, C, S, F>(start: S) -> ExitCode
where
    A: ServiceArgs,
    C: ServiceConfig,
    S: FnOnce(C, CancellationToken) -> F,
    F: Future<Output = anyhow::Result<Running>>,
{
    let args = arguments::<A, C>();
    let config = match config::load::<C>(args.common(), &args.flags()) {
        Ok(config) => config,
        Err(error) => return failure(C::SERVICE, &error.into(), 2),
    };
    if args.common().print_config {
        return print(&config);
    }
    match serve(config, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(C::SERVICE, &error, 1),
    }
}

/// Parses the command line; help, version and mistakes end the process here.
fn arguments<A: ServiceArgs, C: ServiceConfig>() -> A {
    let command = Command::new(C::SERVICE)
        .about(C::ABOUT)
        .version(env!("CARGO_PKG_VERSION"));
    let mut command = A::augment_args(command).after_help(format!(
        "Every configuration key can also be set as SAGA_{}__<SECTION>__<KEY>.",
        C::SERVICE.replace('-', "_").to_uppercase()
    ));
    let matches = command.get_matches_mut();
    A::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

fn serve<C, S, F>(config: C, start: S) -> anyhow::Result<()>
where
    C: ServiceConfig,
    S: FnOnce(C, CancellationToken) -> F,
    F: Future<Output = anyhow::Result<Running>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime does not start")?;
    runtime.block_on(async {
        let _telemetry = telemetry::init(C::SERVICE, config.telemetry())?;
        let shutdown = CancellationToken::new();
        signals::cancel_on_stop(shutdown.clone())?;
        let running = start(config, shutdown).await?;
        tracing::info!(service = C::SERVICE, address = %running.addr, "listening");
        if let Some(address) = running.metrics_addr {
            tracing::info!(service = C::SERVICE, url = %format_args!("http://{address}{}", metrics::PATH), "metrics");
        }
        running.wait().await?;
        tracing::info!(service = C::SERVICE, "stopped");
        anyhow::Ok(())
    })?;
    end_with_workers();
    Ok(())
}

/// The end of a `main` whose services have stopped: waits, within reason, for a batch that a worker still computes.
pub fn end_with_workers() {
    const LIMIT: Duration = Duration::from_secs(30);
    if !saga_batching::wait_for_workers(LIMIT) {
        tracing::warn!("a worker still computes after {LIMIT:?}");
    }
}

fn print<C: ServiceConfig>(config: &C) -> ExitCode {
    match toml::to_string_pretty(config) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => failure(C::SERVICE, &error.into(), 1),
    }
}

fn failure(service: &str, error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("{service}: {error:#}");
    ExitCode::from(code)
}
