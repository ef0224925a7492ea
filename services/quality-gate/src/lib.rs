//! Gate 0 of the cascade, quality: what needs neither a trained model nor the source.
//!
//! A candidate whose shorter side is below `gate.min_side` is rejected as TOO_SMALL whatever its score, and one without as many
//! faces as `gate.faces` asks for as NO_FACE, TOO_FEW_FACES or TOO_MANY_FACES. The score is its sharpness: OpenCV's variance of the
//! Laplacian on Pillow's luma, at one size for all, since it depends on scale.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod config;
mod gate;
mod measure;

use std::sync::Arc;

use anyhow::Context;
use saga_chassis::{Running, Server, limited};
use saga_gate::{GateLimits, GateServer};
use saga_proto::gate::v1::gate_service_server::GateServiceServer;
use tokio_util::sync::CancellationToken;

pub use config::Config;
use gate::QualityGate;
pub use measure::{MeasureError, Measurer, Quality};

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
    let server = Server::bind("quality-gate", &config.server).await?;
    let gate = QualityGate::start(&config, server.metrics())
        .await
        .context("quality-gate has no worker threads")?;
    let limits = GateLimits {
        max_image_bytes: config.limits.max_image_bytes,
        max_in_flight: config.work.max_in_flight,
    };
    let service = GateServiceServer::new(GateServer::new(Arc::new(gate), limits));
    let server = server.add_service(limited!(service, config.server));
    server.readiness().set_ready(true);
    Ok(server)
}
