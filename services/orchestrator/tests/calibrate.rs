//! Calibration of a finished run's gates against services that are made for the test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use futures::StreamExt as _;
use orchestrator::{
    recipe::Recipe,
    results::calibration::{Calibration, Counts},
};
use saga_proto::{
    evaluation::v1::{
        CalibrateRequest, calibrate_response::Event,
        evaluation_service_client::EvaluationServiceClient,
    },
    orchestrator::v1::{StartRunRequest, start_run_request},
};
use support::{RECIPE, World, finished_stages, results, start_request, watch};
use tonic::{Code, Status};

async fn calibrate(max_bad_accepts: f64, confidence: f64) -> Result<Calibration, Status> {
    let world = World::new().await;
    let mut client = world.orchestrator().await;
    client.start_run(start_request()).await.unwrap();
    watch(&mut client).await;
    calibrate_finished(&world, max_bad_accepts, confidence).await
}

async fn calibrate_finished(
    world: &World,
    max_bad_accepts: f64,
    confidence: f64,
) -> Result<Calibration, Status> {
    let mut client = EvaluationServiceClient::connect(world.serve().await)
        .await
        .unwrap();
    let request = CalibrateRequest {
        run_id: "r".into(),
        max_bad_accepts,
        confidence,
    };
    let events = client.calibrate(request).await?.into_inner();
    let events: Vec<_> = events
        .map(|event| event.unwrap().event.unwrap())
        .collect()
        .await;
    match events.last().unwrap() {
        Event::Finished(finished) => Ok(serde_json::from_str(&finished.calibration_json).unwrap()),
        other => panic!("{other:?}"),
    }
}

/// The gate `clip` gives 0.225 to a calibration image under a wrong class and 0.9 under its own; 80 are wrong for each class.
#[tokio::test(flavor = "multi_thread")]
async fn thresholds_lie_where_the_good_candidates_end_and_fit_into_a_recipe() {
    let found = calibrate(0.0, 0.0).await.unwrap();
    assert_eq!(found.gates, ["clip"]);
    // None of the images names whom it shows.
    assert!(
        found.assumption.contains("bad candidates that pass")
            && !found.assumption.contains("several"),
        "{}",
        found.assumption
    );
    assert_eq!((found.classes.len(), found.certified()), (3, 3));
    for class in found.classes.values() {
        let chosen = class.chosen.as_ref().unwrap();
        assert_eq!(chosen.min, [("clip".to_owned(), 0.9)].into());
        assert_eq!(class.judged, Counts { bad: 80, good: 40 });
        assert_eq!(chosen.accepted, Counts { bad: 0, good: 40 });
        assert!(chosen.bound <= found.promise.max_bad_accepts);
        assert_eq!((class.repeated.certified, class.repeated.kept), (200, 200));
    }
    // The recipe's own: 0.1 for c, 0.22 elsewhere.
    assert_eq!(found.classes["c"].before, Counts { bad: 80, good: 40 });

    let recipe = Recipe::parse(&with_gates(&found.gates_toml)).unwrap();
    assert_eq!(recipe.gates[1].thresholds_for("c")["min"], 0.9);
    assert_eq!(recipe.gates[0], Recipe::parse(RECIPE).unwrap().gates[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_too_few_candidates_cannot_show_stays_as_it_was() {
    let found = calibrate(0.01, 0.999).await.unwrap();
    assert_eq!((found.gates.len(), found.certified()), (1, 0));
    assert_eq!(
        Recipe::parse(&with_gates(&found.gates_toml)).unwrap(),
        Recipe::parse(RECIPE).unwrap()
    );
}

/// The recipe with other gates.
fn with_gates(gates: &str) -> String {
    let own = RECIPE.find("[[gates]]").unwrap()..RECIPE.find("[plan]").unwrap();
    let mut text = RECIPE.to_owned();
    text.replace_range(own, gates);
    text
}

#[tokio::test]
async fn a_promise_that_is_none_is_refused() {
    let refused = calibrate(1.5, 0.0).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("max_bad_accepts"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_calibrates_judges_with_the_thresholds_it_chose() {
    let world = World::new().await;
    let mut client = world.orchestrator().await;
    let request = calibrating();
    client.start_run(request.clone()).await.unwrap();
    let events = watch(&mut client).await;
    let found = results(&events);
    let calibration = found.calibration.unwrap();
    assert_eq!(
        (calibration.gates, calibration.classes.len()),
        (vec!["clip".to_owned()], 3)
    );
    assert_eq!(found.gates[1].thresholds_for("c")["min"], 0.9);
    assert_eq!(found.gates[0], Recipe::parse(RECIPE).unwrap().gates[0]);
    let asked = world.gates[1].asked.lock().unwrap().clone();
    assert_eq!(asked.last().unwrap().thresholds["min"], 0.9);

    // The same run again, by an orchestrator that knows only the label store: nothing is judged anew.
    let mut other = world.orchestrator().await;
    other.start_run(request).await.unwrap();
    let again = finished_stages(&watch(&mut other).await);
    assert!(
        again.contains(&("calibration".to_owned(), true)),
        "{again:?}"
    );
    assert_eq!(world.gates[1].asked.lock().unwrap().len(), asked.len());

    let after = calibrate_finished(&world, 0.0, 0.0).await.unwrap();
    assert_eq!(after.classes["c"].before, Counts { bad: 0, good: 40 });
}

#[tokio::test(flavor = "multi_thread")]
async fn without_calibration_images_a_run_keeps_its_thresholds_and_a_calibration_says_what_it_needs()
 {
    let world = World::new().await;
    world.store.lock().calibration = Some(0);
    let mut client = world.orchestrator().await;
    client.start_run(calibrating()).await.unwrap();
    let found = results(&watch(&mut client).await);
    assert!(found.calibration.unwrap().gates.is_empty());
    assert_eq!(found.gates, Recipe::parse(RECIPE).unwrap().gates);

    let mut client = EvaluationServiceClient::connect(world.serve().await)
        .await
        .unwrap();
    let request = CalibrateRequest {
        run_id: "r".into(),
        ..CalibrateRequest::default()
    };
    let events = client.calibrate(request).await.unwrap().into_inner();
    let events: Vec<_> = events.collect().await;
    match &events.last().unwrap().as_ref().unwrap().event {
        Some(Event::Failed(failed)) => assert!(
            failed.message.contains("calibration_fraction"),
            "{failed:?}"
        ),
        other => panic!("{other:?}"),
    }
}

/// A request for a run that calibrates its gates.
fn calibrating() -> StartRunRequest {
    let recipe = RECIPE.replace("calibration_fraction = 0.0", "calibration_fraction = 0.1")
        + "\n[calibration]\nmax_bad_accepts = 0.1\nconfidence = 0.9\n";
    StartRunRequest {
        recipe: Some(start_run_request::Recipe::RecipeToml(recipe)),
        ..start_request()
    }
}
