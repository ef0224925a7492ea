//! What every SAGA service is built on, so that a service holds only what it exists for.
//!
//! - [`config`]: documented defaults, overlaid by file, environment and flags; checked before a port opens
//! - [`args`]: the command-line flags that all services share
//! - [`run`]: what each `main.rs` calls
//! - [`server`]: the gRPC server with health, reflection, limits, TLS, token and graceful drain
//! - [`metrics`]: what Prometheus scrapes
//! - [`telemetry`] and [`propagation`]: logs, spans, and one trace across all hops
//! - [`priority`]: what a call's metadata says of its urgency
//! - [`status`]: errors as gRPC statuses with standard details
//!
//! Nothing here is global except the telemetry of a process, so several services run side by side in one process.
//!
//! ```no_run
//! use saga_chassis::{Running, ServerConfig, Server};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> anyhow::Result<()> {
//! let server = Server::bind("label-store", &ServerConfig::default()).await?;
//! // .add_service(saga_chassis::limited!(DatasetServiceServer::new(service), config.server))
//! server.readiness().set_ready(true);
//! let running: Running = server.start(CancellationToken::new())?;
//! println!("listening on {}", running.addr);
//! running.wait().await?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod args;
mod auth;
pub mod config;
mod grpc_metrics;
mod health;
pub mod metrics;
mod overlay;
pub mod priority;
pub mod propagation;
pub mod run;
pub mod server;
pub mod signals;
pub mod status;
pub mod telemetry;
mod tls;

pub use args::{CommonArgs, ModelArgs};
pub use config::{
    ConfigError, InvalidValue, ModelConfig, ServerConfig, ServiceConfig, TelemetryConfig,
};
pub use health::Readiness;
pub use run::{end_with_workers, main_of};
pub use saga_metrics::{Histogram, Metrics, WorkMetrics};
pub use server::{Running, ServeError, Server};
