//! CLIP in four roles: `ClipService` (embeddings and similarity), the Open Inference Protocol, gate 2 of the cascade (the cosine of candidate and
//! prompt), and `ModelService`, which loads, swaps and unloads its models.
//!
//! Images are decoded and resized on a pool of CPU threads and then join the batches of a model, which lives on a
//! thread of its own; embeddings of prompts are kept. Without a model the service answers FAILED_PRECONDITION and is
//! NOT_SERVING.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod config;
mod gate;
mod grpc;
mod model;
mod open_inference;
mod prompts;
mod service;

use std::sync::Arc;

use anyhow::Context as _;
use saga_chassis::{Running, Server, limited};
use saga_gate::{GateLimits, GateServer};
use saga_models::Runtime;
use saga_proto::{
    clip::v1::clip_service_server::ClipServiceServer,
    gate::v1::gate_service_server::GateServiceServer,
    inference::grpc_inference_service_server::GrpcInferenceServiceServer,
    model::v1::model_service_server::ModelServiceServer,
};
use saga_serving::{Decoding, ModelServer, Registry, open_inference::OpenInferenceServer};
use tokio_util::sync::CancellationToken;

pub use config::{Cache, Config, Threshold};

/// Starts the service; ready once a model is loaded.
///
/// # Errors
/// A device or precision that is not to be had, an address that cannot be bound, a model of the configuration that does
/// not load.
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Running> {
    Ok(server(config).await?.start(shutdown)?)
}

/// The service with its port taken, before it answers.
///
/// # Errors
/// As [`start`].
pub async fn server(config: Config) -> anyhow::Result<Server> {
    let runtime = Runtime::select(&config.model.device, &config.model.precision)?;
    let server = Server::bind("clip-gate", &config.server).await?;
    let loader = model::ClipLoader {
        runtime,
        instances: config.work.instances,
        batch: config.work.batch(runtime.suitable_batch()),
        metrics: server.metrics().work("clip"),
        readiness: server.readiness(),
        cached_prompts: config.cache.prompts,
    };
    let models = Arc::new(Registry::new(loader, server.readiness()));
    let decoding = Decoding::start(&config.limits, &config.work, server.metrics())
        .await
        .context("no threads for decoding")?;
    models.load_configured(&config.model).await?;
    let inference = Arc::new(service::Inference {
        models: Arc::clone(&models),
        decoding,
    });
    let (max_image_bytes, max_in_flight) =
        (config.limits.max_image_bytes, config.work.max_in_flight);
    let embed = grpc::Embed {
        inference: Arc::clone(&inference),
        max_image_bytes,
    };
    let open = OpenInferenceServer::new(
        open_inference::OpenClip {
            inference: Arc::clone(&inference),
            max_image_bytes,
        },
        "clip-gate",
        env!("CARGO_PKG_VERSION"),
        server.readiness(),
        max_in_flight,
    );
    let gate = GateServer::new(
        Arc::new(gate::ClipGate {
            inference,
            min: config.gate.min,
        }),
        GateLimits {
            max_image_bytes,
            max_in_flight,
        },
    );
    Ok(server
        .add_service(limited!(ClipServiceServer::new(embed), config.server))
        .add_service(limited!(GateServiceServer::new(gate), config.server))
        .add_control_service(limited!(
            GrpcInferenceServiceServer::new(open),
            config.server
        ))
        .add_control_service(limited!(
            ModelServiceServer::new(ModelServer::new(models)),
            config.server
        )))
}
