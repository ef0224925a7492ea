//! label-store: everything SAGA must not lose. Data sets and their one split, the sealed golden set, runs with their
//! slots, the admission of candidates in one idempotent transaction, and the ledger of requests that cost money.
//!
//! Rows live in one database ([`database`]), images in one content-addressed folder ([`blobs`]). Everything else may be
//! killed at any moment; so may this service.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod admission;
pub mod arms;
pub mod blobs;
pub mod candidate;
pub mod candidates;
pub mod cap;
pub mod clock;
pub mod config;
pub mod database;
pub mod dataset;
pub mod duplicates;
pub mod error;
pub mod export;
pub mod funnel;
pub mod golden;
pub mod grpc;
pub mod images;
pub mod import;
pub mod ledger;
pub mod put_off;
pub mod registry;
pub mod runs;
pub mod slots;
pub mod split;
pub mod store;

use saga_chassis::{Running, Server, limited};
use saga_proto::labelstore::v1::{
    dataset_service_server::DatasetServiceServer, golden_service_server::GoldenServiceServer,
    ledger_service_server::LedgerServiceServer, registry_service_server::RegistryServiceServer,
    run_service_server::RunServiceServer,
};
use tokio_util::sync::CancellationToken;

pub use clock::Clock;
pub use config::Config;
pub use error::StoreError;
pub use store::{Audit, Store};

/// Opens the store and serves it until `shutdown`.
///
/// # Errors
/// A data folder in use or unusable, a port that is taken.
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Running> {
    let server = Server::bind("label-store", &config.server).await?;
    let store = Store::open(config.clone(), Clock::System).await?;
    let service = grpc::Service::new(store);
    let server = server
        .add_service(limited!(
            DatasetServiceServer::new(service.clone()),
            config.server
        ))
        .add_service(limited!(
            GoldenServiceServer::new(service.clone()),
            config.server
        ))
        .add_service(limited!(
            RunServiceServer::new(service.clone()),
            config.server
        ))
        .add_service(limited!(
            RegistryServiceServer::new(service.clone()),
            config.server
        ))
        .add_service(limited!(LedgerServiceServer::new(service), config.server));
    server.readiness().set_ready(true);
    Ok(server.start(shutdown)?)
}
