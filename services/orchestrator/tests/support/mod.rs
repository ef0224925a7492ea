//! Small stand-ins of the other services over real gRPC, for tests only.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

mod gate;
pub mod generator;
mod models;
mod registry;
mod slots;
mod store;

use std::{net::SocketAddr, pin::Pin, sync::Mutex};

use futures::Stream;
use orchestrator::{Config, results::Results};
use saga_proto::{
    classifier::v1::classifier_service_server::ClassifierServiceServer,
    clip::v1::clip_service_server::ClipServiceServer,
    gate::v1::gate_service_server::GateServiceServer,
    generator::v1::generator_service_server::GeneratorServiceServer,
    labelstore::v1::{
        dataset_service_server::DatasetServiceServer, golden_service_server::GoldenServiceServer,
        registry_service_server::RegistryServiceServer, run_service_server::RunServiceServer,
    },
    model::v1::model_service_server::ModelServiceServer,
    orchestrator::v1::{
        StartRunRequest, WatchRunRequest, orchestrator_service_client::OrchestratorServiceClient,
        start_run_request, watch_run_response::Event,
    },
    trainer::v1::trainer_service_server::TrainerServiceServer,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, service::Routes, transport::Channel};
use tower::util::MapRequestLayer;

pub use gate::FakeGate;
pub use generator::FakeGenerator;
pub use models::{FakeClassifier, FakeTrainer};
pub use store::FakeStore;

pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A recipe of three classes: `a` is large, `b` and `c` are scarce.
pub const RECIPE: &str = include_str!("recipe.toml");

/// Path and `traceparent` of every call to any of the services.
pub static CALLS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Serves on a free port of the loopback.
pub async fn serve(routes: Routes) -> String {
    serve_at("127.0.0.1:0", routes).await
}

/// Serves at this address, without its scheme.
pub async fn serve_at(address: &str, routes: Routes) -> String {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let recorded = MapRequestLayer::new(|request: http::Request<Body>| {
        let parent = request.headers().get("traceparent");
        let parent = parent
            .and_then(|parent| parent.to_str().ok())
            .unwrap_or_default();
        CALLS
            .lock()
            .unwrap()
            .push((request.uri().path().to_owned(), parent.to_owned()));
        request
    });
    let server = tonic::transport::Server::builder()
        .layer(recorded)
        .add_routes(routes);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    format!("http://{address}")
}

/// A port that nobody listens on.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Configuration for tests: a free port, short pauses.
pub fn config() -> Config {
    let mut config = Config::default();
    config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.retry.attempts = 3;
    config.retry.initial_milliseconds = 1;
    config.retry.longest_milliseconds = 5;
    config
}

/// Every service that a run needs.
#[derive(Debug, Clone)]
pub struct World {
    pub store: FakeStore,
    pub generator: FakeGenerator,
    pub trainer: FakeTrainer,
    pub classifier: FakeClassifier,
    pub gates: [FakeGate; 3],
    pub config: Config,
}

impl World {
    pub async fn new() -> Self {
        let (store, generator, trainer, classifier) = (
            FakeStore::default(),
            FakeGenerator::default(),
            FakeTrainer::default(),
            FakeClassifier::default(),
        );
        let gates = ["ssim", "clip", "vit"].map(FakeGate::new);
        let [ssim, clip, vit] = gates.clone();
        let mut config = config();
        let at = &mut config.addresses;
        at.label_store = serve(
            Routes::new(DatasetServiceServer::new(store.clone()))
                .add_service(GoldenServiceServer::new(store.clone()))
                .add_service(RegistryServiceServer::new(store.clone()))
                .add_service(RunServiceServer::new(store.clone())),
        )
        .await;
        at.generator = serve(Routes::new(GeneratorServiceServer::new(generator.clone()))).await;
        at.trainer = serve(Routes::new(TrainerServiceServer::new(trainer.clone()))).await;
        at.ssim_gate = serve(Routes::new(GateServiceServer::new(ssim))).await;
        let models = classifier.clone();
        at.clip_gate = serve(
            Routes::new(GateServiceServer::new(clip))
                .add_service(ModelServiceServer::new(models.clone()))
                .add_service(ClipServiceServer::new(models.clone())),
        )
        .await;
        at.vit_classifier = serve(
            Routes::new(GateServiceServer::new(vit))
                .add_service(ModelServiceServer::new(models.clone()))
                .add_service(ClassifierServiceServer::new(models)),
        )
        .await;
        Self {
            store,
            generator,
            trainer,
            classifier,
            gates,
            config,
        }
    }

    /// Starts an orchestrator that ends with the runtime; answers its address.
    pub async fn serve(&self) -> String {
        let running = orchestrator::start(self.config.clone(), CancellationToken::new())
            .await
            .unwrap();
        format!("http://{}", running.addr)
    }

    /// Starts an orchestrator that ends with the runtime.
    pub async fn orchestrator(&self) -> OrchestratorServiceClient<Channel> {
        OrchestratorServiceClient::connect(self.serve().await)
            .await
            .unwrap()
    }
}

/// A request for run `r` of [`RECIPE`].
pub fn start_request() -> StartRunRequest {
    StartRunRequest {
        run_id: "r".into(),
        recipe: Some(start_run_request::Recipe::RecipeToml(RECIPE.into())),
        dataset_path: "/data/letters".into(),
        ..StartRunRequest::default()
    }
}

/// All events of a run until it ends.
pub async fn watch(client: &mut OrchestratorServiceClient<Channel>) -> Vec<Event> {
    let mut stream = client
        .watch_run(WatchRunRequest { run_id: "r".into() })
        .await
        .unwrap()
        .into_inner();
    let mut events = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        events.extend(response.event);
    }
    events
}

/// The results that a run ended with.
pub fn results(events: &[Event]) -> Results {
    match events.last() {
        Some(Event::Finished(finished)) => serde_json::from_str(&finished.results_json).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Stages that finished, and whether an earlier attempt had done them.
pub fn finished_stages(events: &[Event]) -> Vec<(String, bool)> {
    let stage = |event: &Event| match event {
        Event::StageFinished(finished) => Some((finished.stage.clone(), finished.resumed)),
        _ => None,
    };
    events.iter().filter_map(stage).collect()
}
