//! A service that is started again during a run has lost the model that the run gave it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;

use saga_proto::{
    generator::v1::generator_service_server::GeneratorServiceServer,
    model::v1::{LoadModelRequest, model_service_server::ModelServiceServer},
    orchestrator::v1::{
        StartRunRequest, WatchRunRequest, orchestrator_service_client::OrchestratorServiceClient,
        start_run_request,
    },
};
use support::{
    FakeClassifier, FakeGenerator, RECIPE, World, results, serve, serve_at, start_request, watch,
};
use tokio::sync::Semaphore;
use tonic::{service::Routes, transport::Channel};

const DIFFUSION: &str = r#"
[training.diffusion]
architecture = { image_size = 16, hidden_size = 8, num_hidden_layers = 1 }
settings = { steps = 10, batch_size = 8, learning_rate = 1e-3 }
"#;

/// A generator with a model of its own, and its services; it makes so many candidates, then hangs.
fn generator(allowance: usize) -> (FakeGenerator, Routes) {
    let models = FakeClassifier::default();
    models.loads.lock().unwrap().push(LoadModelRequest {
        name: "of its configuration".into(),
        directory: "/models/mine".into(),
        make_default: true,
    });
    let generator = FakeGenerator {
        allowance: Arc::new(Semaphore::new(allowance)),
        models: Some(models.clone()),
        ..FakeGenerator::default()
    };
    let routes = Routes::new(GeneratorServiceServer::new(generator.clone()))
        .add_service(ModelServiceServer::new(models));
    (generator, routes)
}

/// Waits until the run has so many candidates; it goes on.
async fn four_admitted(world: &World, client: &mut OrchestratorServiceClient<Channel>) {
    let watched = client.watch_run(WatchRunRequest { run_id: "r".into() });
    let mut events = watched.await.unwrap().into_inner();
    while world.store.admitted() < 4 {
        events.message().await.unwrap().unwrap();
    }
}

/// Waits for the run to end: it has all its candidates, and none failed.
async fn all_accepted_in_the_end(client: &mut OrchestratorServiceClient<Channel>) {
    let found = results(&watch(client).await);
    assert_eq!(
        (found.candidates.accepted, found.candidates.errors),
        (10, 0),
        "{:?}",
        found.candidates.errors_by_message
    );
}

#[tokio::test]
async fn a_generator_that_was_started_again_gets_the_model_again() {
    let mut world = World::new().await;
    // Long enough for another one to listen.
    world.config.retry.longest_milliseconds = 100;
    world.config.retry.attempts = 12;
    let process = tokio::runtime::Runtime::new().unwrap();
    let (first, routes) = generator(4);
    let address = process.spawn(serve(routes)).await.unwrap();
    let backend = format!("backend = \"local-diffusion\"\naddress = \"{address}\"");
    let recipe = RECIPE.replace("backend = \"fake\"", &backend) + DIFFUSION;
    let mut client = world.orchestrator().await;
    let request = StartRunRequest {
        recipe: Some(start_run_request::Recipe::RecipeToml(recipe)),
        ..start_request()
    };
    client.start_run(request).await.unwrap();
    four_admitted(&world, &mut client).await;
    // It is killed with requests in flight.
    tokio::task::spawn_blocking(|| drop(process)).await.unwrap();
    let (second, routes) = generator(100);
    serve_at(address.trim_start_matches("http://"), routes).await;
    all_accepted_in_the_end(&mut client).await;
    assert_eq!(second.asked.lock().unwrap().len(), 6);
    for generator in [first, second] {
        let models = generator.models.unwrap();
        let loads = models.loads.lock().unwrap();
        let of_the_run =
            |load: &LoadModelRequest| load.directory == "/models/r/diffusion" && load.make_default;
        let after = &loads[1..];
        assert!(!after.is_empty() && after.iter().all(of_the_run));
    }
}

#[tokio::test]
async fn gates_that_were_started_again_get_their_models_again() {
    let mut world = World::new().await;
    world.generator.allowance = Arc::new(Semaphore::new(4));
    let generator = Routes::new(GeneratorServiceServer::new(world.generator.clone()));
    world.config.addresses.generator = serve(generator).await;
    for gate in &world.gates[1..] {
        *gate.models.lock().unwrap() = Some(world.classifier.clone());
    }
    let mut client = world.orchestrator().await;
    client.start_run(start_request()).await.unwrap();
    four_admitted(&world, &mut client).await;
    world.classifier.loads.lock().unwrap().clear();
    world.generator.allowance.add_permits(100);
    all_accepted_in_the_end(&mut client).await;
    let loads = world.classifier.loads.lock().unwrap();
    let again: Vec<_> = loads.iter().map(|load| load.name.as_str()).collect();
    // Nothing but the gates needs this one any more.
    assert!(again.contains(&"clip"), "{again:?}");
}
