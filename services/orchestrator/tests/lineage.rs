//! Where the classifiers of a run start from, and what the registry knows of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use saga_proto::{
    labelstore::v1::RegisteredModel,
    orchestrator::v1::{StartRunRequest, start_run_request},
};
use support::{RECIPE, World, start_request, watch};

/// A version of the recipe's name in a folder.
fn version(version: u64, name: &str, directory: &str) -> RegisteredModel {
    RegisteredModel {
        name: name.into(),
        version,
        directory: directory.into(),
        ..RegisteredModel::default()
    }
}

/// Where the jobs of a run start whose classifiers start from `init_from`, and the parents of the models that it registers.
async fn run(init_from: &str) -> (Vec<String>, Vec<u64>) {
    let world = World::new().await;
    let known = [
        version(1, "letters", "/models/versions/first"),
        version(2, "letters", "/models/versions/second"),
        version(3, "letters", "/models/versions/second"),
        version(4, "digits", "/models/versions/third"),
    ];
    world.store.lock().models.extend(known.clone());
    let mut client = world.orchestrator().await;
    let own = format!("[training.classifier]\ninit_from = {init_from:?}");
    let recipe = RECIPE.replacen("[training.classifier]", &own, 1);
    let request = StartRunRequest {
        recipe: Some(start_run_request::Recipe::RecipeToml(recipe)),
        ..start_request()
    };
    client.start_run(request).await.unwrap();
    watch(&mut client).await;
    let jobs = world.trainer.jobs.lock().unwrap().clone();
    let models = world.store.lock().models.split_off(known.len());
    let parent = |model: &RegisteredModel| model.lineage.as_ref().unwrap().parent;
    (
        jobs.into_iter().map(|job| job.init_from).collect(),
        models.iter().map(parent).collect(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classifier_that_starts_from_a_registered_version_has_it_as_its_parent() {
    let (starts, parents) = run("/models/versions/second/").await;
    // Baseline, CLIP, augmented.
    let second = "/models/versions/second/";
    assert_eq!(starts, [second, "", second]);
    assert_eq!(parents, [2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_version_of_its_name_there_is_no_parent() {
    for start in ["", "/models/versions/other", "/models/versions/third"] {
        assert_eq!(run(start).await.1, [0, 0], "{start}");
    }
}
