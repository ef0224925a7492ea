//! Gate 1 of the cascade, structure: SSIM of candidate and source on grey, at the source's size.
//!
//! Too low a score means that identity, pose or background were lost; too high a score that nothing was changed. The
//! figure is scikit-image's `structural_similarity` with its defaults, on Pillow's luma. A candidate of another size is
//! converted to grey and then resized to the source's with Pillow's bicubic filter.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod compare;
mod config;
mod grpc;
mod source_cache;

use std::sync::Arc;

use anyhow::Context;
use saga_chassis::{Running, Server, limited};
use saga_gate::{GateLimits, GateServer};
use saga_proto::gate::v1::gate_service_server::GateServiceServer;
use saga_proto::ssim::v1::ssim_service_server::SsimServiceServer;
use tokio_util::sync::CancellationToken;

pub use compare::{CompareError, Comparer, Comparison, Which};
pub use config::Config;
use grpc::SsimGate;

/// Starts the service; it is ready at once, for it has no model to load.
///
/// # Errors
/// A configuration out of range, an address that cannot be bound, or no threads.
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Running> {
    Ok(server(config).await?.start(shutdown)?)
}

/// The service with its port taken, before it answers.
///
/// # Errors
/// As [`start`].
pub async fn server(config: Config) -> anyhow::Result<Server> {
    let server = Server::bind("ssim-gate", &config.server).await?;
    let gate = Arc::new(
        SsimGate::start(&config, server.metrics())
            .await
            .context("ssim-gate has no worker threads")?,
    );
    let limits = GateLimits {
        max_image_bytes: config.limits.max_image_bytes,
        max_in_flight: config.work.max_in_flight,
    };
    let shared = GateServer::new(Arc::clone(&gate), limits);
    let server = server
        .add_service(limited!(GateServiceServer::new(shared), config.server))
        .add_service(limited!(SsimServiceServer::from_arc(gate), config.server));
    server.readiness().set_ready(true);
    Ok(server)
}
