//! The guard over real gRPC with gates that are made for the test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::{Arc, atomic::Ordering};

use orchestrator::{
    guard::{Guard, GuardError},
    recipe::Recipe,
};
use saga_client::Priority;
use saga_proto::{
    guard::v1::{
        Candidate, CheckRequest, CheckStreamRequest, check_stream_response::Outcome,
        guard_service_client::GuardServiceClient,
    },
    r#type::v1::Image,
};
use support::{RECIPE, World};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

fn candidate(text: &str) -> Candidate {
    let image = |data: &str| {
        Some(Image {
            data: data.to_owned().into(),
            ..Image::default()
        })
    };
    Candidate {
        candidate_id: text.into(),
        candidate: image(text),
        source: image("the source"),
        target_label: "b".into(),
        recipe: String::new(),
    }
}

fn guard(world: &World) -> Guard {
    Guard::new(
        Arc::new(Recipe::parse(RECIPE).unwrap()),
        &world.config.addresses,
        world.config.retry,
    )
    .unwrap()
}

/// The world with a recipe folder that holds the test's recipe as the default.
async fn served(
    world: &mut World,
) -> (
    GuardServiceClient<tonic::transport::Channel>,
    tempfile::TempDir,
) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letters.toml"), RECIPE).unwrap();
    world.config.recipes.folder = folder.path().display().to_string();
    world.config.recipes.default = "letters".into();
    let running = orchestrator::start(world.config.clone(), CancellationToken::new())
        .await
        .unwrap();
    (
        GuardServiceClient::connect(format!("http://{}", running.addr))
            .await
            .unwrap(),
        folder,
    )
}

#[tokio::test]
async fn gates_are_asked_in_order_and_the_first_rejection_stops_the_cascade() {
    let world = World::new().await;
    let guard = guard(&world);
    let good = guard
        .check(&candidate("good"), Priority::Normal)
        .await
        .unwrap();
    assert!(good.accepted && good.rejected_by.is_empty());
    let names: Vec<_> = good
        .verdicts
        .iter()
        .map(|verdict| verdict.gate.as_str())
        .collect();
    assert_eq!(names, ["ssim", "clip", "vit"]);
    let bad = guard
        .check(&candidate("reject-clip reject-vit"), Priority::Normal)
        .await
        .unwrap();
    assert_eq!(
        (bad.accepted, bad.rejected_by.as_str(), bad.verdicts.len()),
        (false, "clip", 2)
    );
    let asked = world.gates.each_ref().map(|gate| gate.ids().len());
    assert_eq!(asked, [2, 2, 1]);
}

#[tokio::test]
async fn each_gate_gets_what_it_needs_with_the_recipes_thresholds() {
    let world = World::new().await;
    let guard = guard(&world).with_model("vit-classifier", "baseline");
    guard
        .check(
            &Candidate {
                target_label: "c".into(),
                ..candidate("good")
            },
            Priority::Normal,
        )
        .await
        .unwrap();
    let [ssim, clip, vit] = world
        .gates
        .each_ref()
        .map(|gate| gate.asked.lock().unwrap()[0].clone());
    assert!(ssim.source.is_some() && clip.source.is_none() && vit.source.is_none());
    assert_eq!(
        (ssim.prompt.as_str(), clip.prompt.as_str()),
        ("", "a photo of a c face")
    );
    assert_eq!(
        (
            ssim.thresholds["min"],
            ssim.thresholds["max"],
            clip.thresholds["min"]
        ),
        (0.35, 0.95, 0.1)
    );
    assert_eq!((clip.model.as_str(), vit.model.as_str()), ("", "baseline"));
}

#[tokio::test]
async fn gates_are_asked_as_urgently_as_the_guard_is() {
    let mut world = World::new().await;
    let (mut client, _folder) = served(&mut world).await;
    let low = || {
        let asked = world.gates.each_ref();
        asked.map(|gate| gate.low.load(Ordering::SeqCst))
    };
    for (priority, expected) in [(Priority::Normal, 0), (Priority::Low, 1)] {
        let mut request = Request::new(CheckRequest {
            candidate: Some(candidate("good")),
        });
        priority.mark(&mut request);
        client.check(request).await.unwrap();
        assert_eq!(low(), [expected; 3]);
    }
    let mut request = Request::new(CheckRequest {
        candidate: Some(candidate("good")),
    });
    request
        .metadata_mut()
        .insert("saga-priority", "urgent".parse().unwrap());
    let status = client.check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("saga-priority"), "{status}");
}

#[tokio::test]
async fn a_gate_that_is_down_is_an_error_with_its_name_and_address_and_never_an_acceptance() {
    let mut world = World::new().await;
    world.config.addresses.clip_gate = support::nobody().await;
    let address = world.config.addresses.clip_gate.clone();
    let (mut client, _folder) = served(&mut world).await;
    let status = client
        .check(CheckRequest {
            candidate: Some(candidate("good")),
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().contains("\"clip\"") && status.message().contains(&address),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn a_gate_that_warms_up_is_asked_again() {
    let world = World::new().await;
    world.gates[2].failures.store(2, Ordering::SeqCst);
    assert!(
        guard(&world)
            .check(&candidate("good"), Priority::Normal)
            .await
            .unwrap()
            .accepted
    );
    world.gates[2].failures.store(3, Ordering::SeqCst);
    assert!(matches!(
        guard(&world)
            .check(&candidate("good"), Priority::Normal)
            .await,
        Err(GuardError::Unavailable { .. })
    ));
}

#[tokio::test]
async fn one_bad_item_is_answered_with_its_error_and_does_not_end_the_stream() {
    let mut world = World::new().await;
    let (mut client, _folder) = served(&mut world).await;
    let no_class = Candidate {
        target_label: "z".into(),
        ..candidate("good")
    };
    let empty = Candidate {
        candidate: None,
        ..candidate("good")
    };
    let items = [
        candidate("good"),
        candidate("error-ssim"),
        no_class,
        empty,
        candidate("reject-vit"),
        candidate("good too"),
    ];
    let requests = items
        .into_iter()
        .zip(0..)
        .map(|(candidate, sequence)| CheckStreamRequest {
            sequence,
            candidate: Some(candidate),
        });
    let mut answers = client
        .check_stream(futures::stream::iter(requests.collect::<Vec<_>>()))
        .await
        .unwrap()
        .into_inner();
    let mut outcomes = std::collections::BTreeMap::new();
    while let Some(answer) = answers.message().await.unwrap() {
        let text = match answer.outcome.unwrap() {
            Outcome::Decision(decision) if decision.accepted => "accepted".to_owned(),
            Outcome::Decision(decision) => decision.rejected_by,
            Outcome::Error(error) => format!("{:?} {}", Code::from(error.code), error.message),
        };
        outcomes.insert(answer.sequence, text);
    }
    assert_eq!(
        (
            outcomes[&0].as_str(),
            outcomes[&4].as_str(),
            outcomes[&5].as_str()
        ),
        ("accepted", "vit", "accepted")
    );
    assert!(
        outcomes[&1].starts_with("InvalidArgument") && outcomes[&1].contains("does not decode"),
        "{outcomes:?}"
    );
    assert!(
        outcomes[&2].contains("\"z\" is no class") && outcomes[&3].contains("has no data"),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn thresholds_that_a_gate_does_not_take_are_refused() {
    let world = World::new().await;
    let text = RECIPE.replace(
        "address = \"ssim-gate\"",
        &format!("address = \"{}\"", world.config.addresses.ssim_gate),
    );
    let text = text.replace("min = 0.35, max = 0.95", "min = 0.35, max = 60.0");
    let guard = Guard::new(
        Arc::new(Recipe::parse(&text).unwrap()),
        &world.config.addresses,
        world.config.retry,
    )
    .unwrap();
    let error = guard
        .check(&candidate("good"), Priority::Normal)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is 60") && error.contains("allows 0 to 1"),
        "{error}"
    );
}

#[tokio::test]
async fn an_unknown_recipe_is_invalid_input() {
    let mut world = World::new().await;
    let (mut client, _folder) = served(&mut world).await;
    let request = CheckRequest {
        candidate: Some(Candidate {
            recipe: "nothing".into(),
            ..candidate("good")
        }),
    };
    let status = client.check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().contains("emotion, letters, studio"),
        "{}",
        status.message()
    );
}
