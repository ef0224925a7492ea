//! A small data set and a run of the loop on it.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod spy;

use std::path::Path;

use all_in_one::{AllInOne, Options};
use futures::StreamExt as _;
use saga_proto::{
    generator::v1::{RenderDatasetRequest, studio_service_client::StudioServiceClient},
    orchestrator::v1::{
        StartRunRequest, WatchRunRequest, orchestrator_service_client::OrchestratorServiceClient,
        start_run_request::Recipe, watch_run_response::Event,
    },
};
use serde_json::Value;

pub const RECIPE: &str = include_str!("../tiny.toml");

/// Images of each class; the last is the scarce one.
pub const COUNTS: [(&str, u32); 3] = [("neutral", 40), ("happy", 30), ("fear", 14)];

pub fn options(folder: &Path) -> Options {
    Options {
        state_dir: folder.join("state"),
        models_dir: folder.join("models"),
        recipes_dir: None,
        config_dir: None,
        device: "cpu".to_owned(),
        precision: "f32".to_owned(),
        port: None,
        metrics_port: None,
    }
}

pub async fn start(folder: &Path) -> AllInOne {
    AllInOne::start(options(folder)).await.unwrap()
}

/// Renders the data set into `folder` in AffectNet layout.
pub async fn render(services: &AllInOne, folder: &Path) {
    let transport = saga_client::connect(&services.addresses().generator)
        .await
        .unwrap();
    let request = RenderDatasetRequest {
        seed: 3,
        counts: COUNTS
            .iter()
            .map(|&(label, count)| (label.to_owned(), count))
            .collect(),
        size: 64,
    };
    let mut images = saga_client::limited!(StudioServiceClient::new(transport))
        .render_dataset(request)
        .await
        .unwrap()
        .into_inner();
    let mut labels = String::from("pth,label,subject\n");
    while let Some(item) = images.next().await {
        let item = item.unwrap();
        let path = folder.join(&item.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, item.image.unwrap().data).unwrap();
        labels.push_str(&format!("{},{},{}\n", item.path, item.label, item.subject));
    }
    std::fs::write(folder.join("labels.csv"), labels).unwrap();
}

/// Runs a recipe to its end and returns `results.json`.
pub async fn run(services: &AllInOne, run_id: &str, recipe: &str, dataset: &Path) -> Value {
    let transport = saga_client::connect(&services.addresses().orchestrator)
        .await
        .unwrap();
    let mut orchestrator = saga_client::limited!(OrchestratorServiceClient::new(transport));
    let request = StartRunRequest {
        run_id: run_id.to_owned(),
        recipe: Some(Recipe::RecipeToml(recipe.to_owned())),
        dataset_path: dataset.to_str().unwrap().to_owned(),
        models_prefix: Some(String::new()),
        ..Default::default()
    };
    orchestrator.start_run(request).await.unwrap();
    let watch = WatchRunRequest {
        run_id: run_id.to_owned(),
    };
    let mut events = orchestrator.watch_run(watch).await.unwrap().into_inner();
    while let Some(event) = events.next().await {
        match event.unwrap().event {
            Some(Event::Finished(finished)) => {
                return serde_json::from_str(&finished.results_json).unwrap();
            }
            Some(Event::Failed(failed)) => {
                panic!("stage {} failed: {}", failed.stage, failed.message)
            }
            _ => {}
        }
    }
    panic!("the stream ended before the run");
}
