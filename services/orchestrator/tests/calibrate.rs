//! Calibration of a finished run's gates against services that are made for the test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use futures::StreamExt as _;
use orchestrator::{calibration::figures::Calibration, recipe::Recipe};
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
async fn thresholds_lie_where_the_bad_candidates_end_and_fit_into_a_recipe() {
    let found = calibrate(0.0, 0.0).await.unwrap();
    let [ssim, clip, _] = &found.gates[..] else {
        panic!("{:?}", found.gates)
    };
    assert!(ssim.bad.is_empty() && ssim.classes.is_empty());
    assert_eq!(clip.classes.len(), 3);
    for class in clip.classes.values() {
        let certified = class.certified.unwrap();
        assert!(
            certified.min > 0.225 && certified.min < 0.24,
            "{certified:?}"
        );
        assert_eq!((class.bad, certified.bad_accepted), (80, 0));
        assert_eq!((class.good, class.good_accepted), (40, Some(40)));
        assert!(certified.bound <= found.promise.max_bad_accepts);
        assert_eq!((class.repeated.certified, class.repeated.kept), (200, 200));
    }
    let before = clip.classes["c"].before.unwrap();
    assert_eq!((before.min, before.bad, before.good), (0.1, 80, 40));

    let gates = RECIPE.find("[[gates]]").unwrap()..RECIPE.find("[plan]").unwrap();
    let mut text = RECIPE.to_owned();
    text.replace_range(gates, &found.gates_toml);
    let recipe = Recipe::parse(&text).unwrap();
    let min = recipe.gates[1].thresholds_for("c")["min"];
    assert_eq!(min, clip.classes["c"].certified.unwrap().min);
    assert_eq!(recipe.gates[0], Recipe::parse(RECIPE).unwrap().gates[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_too_few_candidates_cannot_show_stays_as_it_was() {
    let found = calibrate(0.01, 0.999).await.unwrap();
    assert!(
        found.gates[1]
            .classes
            .values()
            .all(|class| class.certified.is_none())
    );
    let text = RECIPE.replace(
        &RECIPE[RECIPE.find("[[gates]]").unwrap()..RECIPE.find("[plan]").unwrap()],
        &found.gates_toml,
    );
    assert_eq!(
        Recipe::parse(&text).unwrap(),
        Recipe::parse(RECIPE).unwrap()
    );
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
    let recipe = RECIPE.replace("calibration_fraction = 0.0", "calibration_fraction = 0.1")
        + "\n[calibration]\nmax_bad_accepts = 0.1\nconfidence = 0.9\n";
    let request = StartRunRequest {
        recipe: Some(start_run_request::Recipe::RecipeToml(recipe)),
        ..start_request()
    };
    client.start_run(request.clone()).await.unwrap();
    let events = watch(&mut client).await;
    let found = results(&events);
    let chosen = found.calibration.unwrap().gates[1].classes["c"]
        .certified
        .unwrap()
        .min;
    assert!(chosen > 0.225, "{chosen}");
    assert_eq!(found.gates[1].thresholds_for("c")["min"], chosen);
    assert_eq!(found.gates[0], Recipe::parse(RECIPE).unwrap().gates[0]);
    let asked = world.gates[1].asked.lock().unwrap().clone();
    let of_the_run = asked.iter().filter(|item| !item.candidate_id.is_empty());
    let last = of_the_run.last().unwrap();
    assert!(last.thresholds["min"] > 0.225, "{last:?}");

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
    let before = after.gates[1].classes["c"].before.unwrap();
    assert_eq!(before.min, chosen);
}
