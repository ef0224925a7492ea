//! Training as a service: reads a data set's train and val splits from the label store, trains a classifier, a small CLIP or a
//! small diffusion model, streams the epochs, and leaves a Hugging Face or diffusers model directory.
//!
//! [`request`] checks what is asked, [`data`] and [`pixels`] bring images into memory, [`loader`] makes batches of them, [`fit`]
//! is the one loop for all models, [`classifier`], [`contrastive`] and [`diffusion`] are what it trains, [`checkpoint`] is what a
//! kill leaves and [`output`] what an end does, [`job`] ties them together and [`grpc`] is the transport.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod augment;
pub mod checkpoint;
pub mod classifier;
mod colour;
pub mod config;
pub mod contrastive;
pub mod data;
pub mod diffusion;
pub mod ema;
pub mod epoch;
mod erase;
pub mod error;
pub mod fit;
pub mod grpc;
pub mod job;
pub mod learner;
pub mod loader;
pub mod loss;
pub mod master;
pub mod metrics;
pub mod mix;
pub mod network;
pub mod output;
pub mod pixels;
pub mod preprocessing;
pub mod randaugment;
pub mod random;
pub mod request;
pub mod sampler;
pub mod schedule;
pub mod shapes;
pub mod split;
pub mod stages;
pub mod start;

use std::sync::Arc;

use saga_chassis::{Running, Server};
use saga_proto::trainer::v1::trainer_service_server::TrainerServiceServer;
use tokio_util::sync::CancellationToken;

pub use config::Config;

/// Starts the service; it answers until `shutdown` is cancelled.
///
/// # Errors
/// An unknown device or precision, a models folder that cannot be created, a port that is taken.
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Running> {
    let server = Server::bind("trainer", &config.server).await?;
    let trainer = Arc::new(job::Trainer::new(config.clone())?);
    let service = TrainerServiceServer::new(grpc::TrainerGrpc::new(trainer, shutdown.clone()));
    let server = server.add_service(saga_chassis::limited!(service, config.server));
    server.readiness().set_ready(true);
    Ok(server.start(shutdown)?)
}
