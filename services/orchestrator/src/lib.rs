//! The orchestrator: runs the loop stage by stage, and hosts the hallucination guard.
//!
//! - [`recipe`]: what a run does, checked before anything starts
//! - [`guard`]: the cascade of gates
//! - [`plan`]: how many candidates of which class from which sources
//! - [`run`]: the stages of a run
//! - [`evaluation`]: what a finished run's images are worth, next to what costs less
//! - [`metrics`] and [`results`]: what a run found
//! - [`events`]: what watchers see
//!
//! It keeps no state: runs, stages, slots and candidates live in the label store, so it may be killed at any moment and
//! started again.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod config;
pub mod evaluation;
pub mod events;
pub mod grpc;
pub mod guard;
pub mod metrics;
pub mod plan;
pub mod recipe;
pub mod remote;
pub mod results;
mod retry;
pub mod run;

use std::sync::Arc;

use saga_chassis::{Running, Server, limited};
use saga_proto::{
    evaluation::v1::evaluation_service_server::EvaluationServiceServer,
    guard::v1::guard_service_server::GuardServiceServer,
    orchestrator::v1::orchestrator_service_server::OrchestratorServiceServer,
};
use tokio_util::sync::CancellationToken;

pub use config::Config;

/// Starts the service; it stops, with what is in flight settled, when `shutdown` is cancelled.
///
/// # Errors
/// An address that is none, a bad default recipe, or a port that cannot be had.
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Running> {
    let services = remote::Services::new(&config)?;
    let guards = guard::Guards::new(&config);
    guards.get("")?;
    let runs = Arc::new(run::Runs::new(&config, services, shutdown.clone()));
    let server = Server::bind("orchestrator", &config.server).await?;
    let readiness = server.readiness();
    let running = server
        .add_service(limited!(
            OrchestratorServiceServer::new(grpc::OrchestratorGrpc::new(runs.clone())),
            config.server
        ))
        .add_service(limited!(
            EvaluationServiceServer::new(grpc::EvaluationGrpc::new(runs)),
            config.server
        ))
        .add_service(limited!(
            GuardServiceServer::new(grpc::GuardGrpc::new(guards, config.guard.in_flight)),
            config.server
        ))
        .start(shutdown)?;
    readiness.set_ready(true);
    Ok(running)
}
