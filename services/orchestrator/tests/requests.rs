//! Requests to start a run that are refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use saga_proto::orchestrator::v1::{StartRunRequest, start_run_request};
use support::{RECIPE, World, start_request, watch};
use tonic::Code;

#[tokio::test]
async fn bad_requests_are_refused_before_anything_is_stored() {
    let world = World::new().await;
    let mut client = world.orchestrator().await;
    let recipe = |text: String| Some(start_run_request::Recipe::RecipeToml(text));
    let cases = [
        (
            StartRunRequest {
                recipe: recipe(RECIPE.replace("min = 0.22", "min = 2.2")),
                ..start_request()
            },
            "gates[1].thresholds.min is 2.2",
        ),
        (
            StartRunRequest {
                recipe: recipe(RECIPE.replace("in_flight = 3", "inflight = 3")),
                ..start_request()
            },
            "inflight",
        ),
        (
            StartRunRequest {
                recipe: None,
                ..start_request()
            },
            "recipe",
        ),
        (
            StartRunRequest {
                dataset_path: String::new(),
                ..start_request()
            },
            "dataset_path",
        ),
        (
            StartRunRequest {
                run_id: "../r".into(),
                ..start_request()
            },
            "run_id",
        ),
        (
            StartRunRequest {
                generator: "dall-e".into(),
                ..start_request()
            },
            "the generator has no backend \"dall-e\"; it has fake, paid",
        ),
    ];
    for (request, expected) in cases {
        let status = client.start_run(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(expected), "{}", status.message());
    }
    assert!(world.store.lock().run.is_none());
}

#[tokio::test]
async fn a_known_run_cannot_be_started_with_other_settings() {
    let world = World::new().await;
    let mut client = world.orchestrator().await;
    client.start_run(start_request()).await.unwrap();
    watch(&mut client).await;
    let other_seed = StartRunRequest {
        seed: Some(2),
        ..start_request()
    };
    let other_mode = StartRunRequest {
        test_mode: true,
        ..start_request()
    };
    for request in [other_seed, other_mode] {
        assert_eq!(
            client.start_run(request).await.unwrap_err().code(),
            Code::AlreadyExists
        );
    }
}
