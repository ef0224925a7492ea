//! A run whose candidates come of a diffusion model that it trains itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use saga_proto::orchestrator::v1::{
    StartRunRequest, orchestrator_service_client::OrchestratorServiceClient,
    start_run_request::Recipe,
};
use tonic::Code;

const DIFFUSION: &str = r#"
[training.diffusion]
noise_schedule = "scaled_linear"
min_snr_gamma = 5.0
architecture = { image_size = 16, hidden_size = 8, num_hidden_layers = 1 }
settings = { steps = 10, batch_size = 8, learning_rate = 1e-3, ema_decay = 0.9, sampling = "balanced", gradient_clip = 1.0 }
"#;

/// The tiny recipe with candidates of the local model, in few steps.
fn recipe() -> String {
    let backend =
        "backend = \"local-diffusion\"\nparameters = { steps = \"4\", strength = \"0.5\" }";
    common::RECIPE.replace("backend = \"studio\"", backend)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_trains_its_own_model_edits_with_it_and_tells_what_it_memorised() {
    let folder = tempfile::tempdir().unwrap();
    let services = common::start(folder.path()).await;
    let dataset = folder.path().join("data");
    common::render(&services, &dataset).await;

    let transport = saga_client::connect(&services.addresses().orchestrator);
    let mut orchestrator = OrchestratorServiceClient::new(transport.await.unwrap());
    let without = StartRunRequest {
        run_id: "without".to_owned(),
        recipe: Some(Recipe::RecipeToml(recipe())),
        dataset_path: dataset.to_str().unwrap().to_owned(),
        ..StartRunRequest::default()
    };
    let refused = orchestrator.start_run(without).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().contains("[training.diffusion]"),
        "{refused}"
    );
    drop(orchestrator);

    let recipe = recipe() + DIFFUSION;
    let results = common::run(&services, "local", &recipe, &dataset).await;
    let generated = results["candidates"]["generated"].as_u64().unwrap();
    assert!(generated > 0);
    assert_eq!(results["candidates"]["errors"], 0, "{results}");
    assert!(results["model_revisions"]["diffusion"].is_string());
    assert!(results["seconds"]["diffusion"].is_number());
    let memorisation = &results["memorisation"];
    assert_eq!(memorisation["candidates"], generated, "{memorisation}");
    let nearest = &memorisation["nearest"];
    assert!(nearest["image_id"].as_str().unwrap().len() > 8, "{nearest}");
    let model = folder.path().join("models/diffusion");
    for file in [
        "model_index.json",
        "unet/config.json",
        "scheduler/scheduler_config.json",
        "training.json",
        "README.md",
    ] {
        assert!(model.join(file).is_file(), "{file}");
    }
    let scheduler = std::fs::read_to_string(model.join("scheduler/scheduler_config.json")).unwrap();
    assert!(
        scheduler.contains(r#""beta_schedule": "scaled_linear""#),
        "{scheduler}"
    );
    services.stop().await.unwrap();
}
