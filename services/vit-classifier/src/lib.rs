//! A vision transformer in five roles: `ClassifierService`, the Open Inference Protocol, gate 3 of the cascade (the probability of the target label),
//! `ExplainerService`, which says what it looks at, and `ModelService`, which loads, swaps and unloads its models.
//!
//! Images are decoded and resized on a pool of CPU threads and then join the batches of a model, which lives on a
//! thread of its own. Without a model the service answers FAILED_PRECONDITION and is NOT_SERVING.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod config;
mod explain;
mod explainer;
mod gate;
mod grpc;
mod means;
mod model;
mod open_inference;
mod predictions;
mod service;

use std::sync::Arc;

use anyhow::Context as _;
use saga_chassis::{Running, Server, limited};
use saga_gate::{GateLimits, GateServer};
use saga_models::Runtime;
use saga_proto::{
    classifier::v1::{
        classifier_service_server::ClassifierServiceServer,
        explainer_service_server::ExplainerServiceServer,
    },
    gate::v1::gate_service_server::GateServiceServer,
    inference::grpc_inference_service_server::GrpcInferenceServiceServer,
    model::v1::model_service_server::ModelServiceServer,
};
use saga_serving::{Decoding, ModelServer, Registry, open_inference::OpenInferenceServer};
use tokio_util::sync::CancellationToken;

pub use config::{Config, Threshold};

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
    let server = Server::bind("vit-classifier", &config.server).await?;
    let loader = model::VitLoader {
        runtime,
        instances: config.work.instances,
        batch: config.work.batch(runtime.suitable_batch()),
        metrics: server.metrics().work("vit"),
        readiness: server.readiness(),
    };
    let models = Arc::new(Registry::new(loader, server.readiness()));
    let decoding = Decoding::start(&config.limits, &config.work, server.metrics())
        .await
        .context("no threads for decoding")?;
    models.load_configured(&config.model).await?;
    config.registry.start(&models)?;
    let inference = Arc::new(service::Inference {
        models: Arc::clone(&models),
        decoding,
    });
    let (max_image_bytes, max_in_flight) =
        (config.limits.max_image_bytes, config.work.max_in_flight);
    let classify = grpc::Classify {
        inference: Arc::clone(&inference),
        max_image_bytes,
        max_in_flight,
    };
    let explain = explain::Explain {
        inference: Arc::clone(&inference),
        metrics: server.metrics().work("explain"),
        device: runtime.device,
        max_image_bytes,
    };
    let open = OpenInferenceServer::new(
        open_inference::OpenClassifier {
            inference: Arc::clone(&inference),
            max_image_bytes,
        },
        "vit-classifier",
        env!("CARGO_PKG_VERSION"),
        server.readiness(),
        max_in_flight,
    );
    let gate = GateServer::new(
        Arc::new(gate::VitGate {
            inference,
            min: config.gate.min,
        }),
        GateLimits {
            max_image_bytes,
            max_in_flight,
        },
    );
    Ok(server
        .add_service(limited!(
            ClassifierServiceServer::new(classify),
            config.server
        ))
        .add_service(limited!(
            ExplainerServiceServer::new(explain),
            config.server
        ))
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
