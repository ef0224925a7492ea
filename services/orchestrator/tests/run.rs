//! Whole runs against services that are made for the test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use orchestrator::results::Results;
use saga_chassis::status::{failed_precondition, quota_exhausted};
use saga_proto::{
    generator::v1::{Candidate, Outcome, generator_service_server::GeneratorServiceServer},
    orchestrator::v1::{
        GetResultsRequest, StartRunRequest, start_run_request, watch_run_response::Event,
    },
};
use support::{
    FakeGenerator, RECIPE, World, finished_stages, results, serve, start_request, watch,
};
use tonic::{Status, service::Routes};

#[tokio::test]
async fn a_run_fills_the_classes_retrains_and_compares() {
    let world = World::new().await;
    let mut client = world.orchestrator().await;
    assert!(
        !client
            .start_run(start_request())
            .await
            .unwrap()
            .into_inner()
            .resumed
    );
    let events = watch(&mut client).await;
    let found = results(&events);
    // 12, 6 and 3 real images; at most 60 % synthetic: 6 and 4.
    assert_eq!(
        (found.candidates.planned, found.candidates.accepted),
        (10, 10)
    );
    assert_eq!(
        (
            found.baseline.balanced_accuracy,
            found.augmented.balanced_accuracy
        ),
        (Some(2.0 / 3.0), Some(1.0))
    );
    assert_eq!(found.delta.per_class_recall["c"], Some(1.0));
    assert_eq!(found.guard.good_accepted, Some(10));
    assert_eq!(found.model_revisions["augmented"], "rev-r/augmented");
    let stages: Vec<_> = finished_stages(&events)
        .into_iter()
        .map(|(stage, _)| stage)
        .collect();
    assert_eq!(
        stages,
        [
            "import",
            "split",
            "baseline",
            "clip",
            "plan",
            "generate",
            "augmented",
            "compare"
        ]
    );
    let jobs = world.trainer.jobs.lock().unwrap().clone();
    assert_eq!(jobs[0].settings, jobs[2].settings);
    assert_eq!(
        (
            jobs[0].synthetic_run_id.as_str(),
            jobs[2].synthetic_run_id.as_str()
        ),
        ("", "r")
    );
    let models = world.store.lock().models.clone();
    let registered: Vec<_> = models
        .iter()
        .map(|model| {
            let run = model.lineage.as_ref().unwrap().synthetic_run_id.as_str();
            (
                model.revision.as_str(),
                run,
                model.metrics["golden_accuracy"],
            )
        })
        .collect();
    assert_eq!(
        registered,
        [
            ("rev-r/baseline", "", found.baseline.accuracy.unwrap()),
            ("rev-r/augmented", "r", found.augmented.accuracy.unwrap()),
        ]
    );
    let read = world.store.lock().golden_reads[0].clone();
    assert_eq!(
        (read.reader.as_str(), read.run_id.as_str()),
        ("orchestrator", "r")
    );
    let stored = client
        .get_results(GetResultsRequest { run_id: "r".into() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        serde_json::from_str::<Results>(&stored.results_json).unwrap(),
        results(&events)
    );
}

#[tokio::test]
async fn exemplars_and_sources_come_from_the_right_classes() {
    let world = World::new().await;
    let mut client = world.orchestrator().await;
    client.start_run(start_request()).await.unwrap();
    watch(&mut client).await;
    for spec in world.generator.asked.lock().unwrap().iter() {
        let label = |image: &saga_proto::r#type::v1::Image| {
            String::from_utf8(image.data.to_vec()).unwrap()[..1].to_owned()
        };
        assert_eq!(spec.exemplars.len(), 2);
        assert!(
            spec.exemplars
                .iter()
                .all(|image| label(image) == spec.target_label)
        );
        assert_ne!(label(spec.source.as_ref().unwrap()), spec.target_label);
        assert_eq!(label(spec.source.as_ref().unwrap()), spec.source_label);
    }
}

/// Candidates in the order of their settlement, and how many of their requests were overtaken.
async fn settled(recipe: &str, overtaking: bool) -> (Vec<String>, u64) {
    let world = World::new().await;
    *world.generator.rule.lock().unwrap() = |spec| {
        let text = if spec.seed % 3 == 0 {
            "reject-clip"
        } else {
            "good"
        };
        Ok(support::generator::image(spec, text))
    };
    let overtakes = &world.generator.overtaking;
    overtakes.on.store(overtaking, Ordering::SeqCst);
    let mut client = world.orchestrator().await;
    let request = StartRunRequest {
        recipe: Some(start_run_request::Recipe::RecipeToml(recipe.into())),
        ..start_request()
    };
    client.start_run(request).await.unwrap();
    let found = results(&watch(&mut client).await);
    assert!(found.candidates.generated > found.candidates.accepted);
    let state = world.store.lock();
    let order = state.order.clone();
    let ahead = recipe.contains("same-again").then_some(order.len());
    assert_eq!(state.kept, ahead.unwrap_or_default());
    (order, overtakes.overtaken.load(Ordering::SeqCst))
}

#[tokio::test]
async fn the_same_seed_gives_the_same_images_whichever_answer_comes_first() {
    let recipe = RECIPE.replace("\"fake\"", "\"same-again\"");
    for recipe in [
        recipe.clone(),
        recipe.replace("\"confusion\"", "\"bandit\""),
    ] {
        let (order, none) = settled(&recipe, false).await;
        let (with_overtaking, some) = settled(&recipe, true).await;
        assert!(none == 0 && some > 1, "{none}, {some}");
        assert_eq!(order, with_overtaking);
    }
}

#[tokio::test]
async fn a_backend_whose_answers_change_anyway_settles_them_as_they_come() {
    let (order, _) = settled(RECIPE, false).await;
    let (with_overtaking, _) = settled(RECIPE, true).await;
    assert_ne!(order, with_overtaking);
}

#[tokio::test]
async fn generation_stops_when_nothing_is_accepted_for_too_long() {
    let world = World::new().await;
    *world.generator.rule.lock().unwrap() =
        |spec| Ok(support::generator::image(spec, "reject-ssim"));
    let mut client = world.orchestrator().await;
    let text = RECIPE.replace("stop_after_rejections = 50", "stop_after_rejections = 7");
    let recipe = Some(start_run_request::Recipe::RecipeToml(text));
    client
        .start_run(StartRunRequest {
            recipe,
            ..start_request()
        })
        .await
        .unwrap();
    let found = results(&watch(&mut client).await);
    let rejected = found.candidates.rejected_by["ssim"];
    assert!((7..=9).contains(&rejected), "{rejected}");
    assert_eq!(
        (found.candidates.accepted, found.guard.bad_accepted),
        (0, Some(0))
    );
    assert!(found.candidates.open > 0);
}

#[tokio::test]
async fn a_backend_at_an_address_is_asked_there() {
    let world = World::new().await;
    let elsewhere = FakeGenerator::default();
    let served = Routes::new(GeneratorServiceServer::new(elsewhere.clone()));
    let address = serve(served).await;
    let backends = format!(
        "backends = [{{ name = \"fake\" }}, {{ name = \"paid\", address = \"{address}\" }}]"
    );
    let recipe = RECIPE.replace("backend = \"fake\"", &backends);
    let request = |recipe: String| StartRunRequest {
        recipe: Some(start_run_request::Recipe::RecipeToml(recipe)),
        ..start_request()
    };
    let mut client = world.orchestrator().await;
    let nowhere = recipe.replace(&address, "elsewhere");
    let refused = client.start_run(request(nowhere)).await.unwrap_err();
    assert!(
        refused
            .message()
            .contains("generator.backends[1].address: \"elsewhere\" is no address"),
        "{refused}"
    );
    client.start_run(request(recipe)).await.unwrap();
    let found = results(&watch(&mut client).await);
    assert_eq!(found.candidates.accepted, 10);
    for (generator, name) in [(&world.generator, "fake"), (&elsewhere, "paid")] {
        let asked = generator.asked.lock().unwrap();
        assert!(!asked.is_empty() && asked.iter().all(|spec| spec.backend == name));
    }
}

#[tokio::test]
async fn a_quota_that_is_used_up_or_a_batch_under_way_delays_a_run_and_costs_no_attempt() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let world = World::new().await;
    *world.generator.rule.lock().unwrap() = |spec| match ASKED.fetch_add(1, Ordering::Relaxed) {
        asked @ 2..6 => Err(quota_exhausted(
            ["QUOTA_EXHAUSTED", "BATCH_PENDING"][asked as usize % 2],
            "no key is free",
            Duration::from_millis(700),
        )),
        _ => Ok(support::generator::image(spec, "good")),
    };
    let mut client = world.orchestrator().await;
    client.start_run(start_request()).await.unwrap();
    let events = watch(&mut client).await;
    let waited = |event: &Event| matches!(event, Event::StageProgress(p) if p.waiting_for == "no key is free");
    assert!(events.iter().any(waited));
    let found = results(&events);
    assert_eq!(
        (found.candidates.planned, found.candidates.accepted),
        (10, 10)
    );
    assert_eq!(
        (found.candidates.generated, found.candidates.errors),
        (10, 0)
    );
}

#[tokio::test]
async fn a_spent_budget_ends_generation_and_the_run_goes_on_with_what_it_has() {
    let world = World::new().await;
    static ASKED: AtomicU32 = AtomicU32::new(0);
    *world.generator.rule.lock().unwrap() = |spec| {
        assert_eq!(spec.budget.as_ref().unwrap().max_cost_usd, Some(0.2));
        match ASKED.fetch_add(1, Ordering::Relaxed) {
            0..5 => Ok(support::generator::image(spec, "good")),
            _ => Err(failed_precondition(
                "BUDGET_SPENT",
                "0.20 of 0.20 US dollars are spent",
            )),
        }
    };
    let mut client = world.orchestrator().await;
    let refused = client.start_run(StartRunRequest {
        max_cost_usd: Some(f64::NAN),
        ..start_request()
    });
    assert!(
        refused
            .await
            .unwrap_err()
            .message()
            .contains("max_cost_usd")
    );
    let request = StartRunRequest {
        max_cost_usd: Some(0.2),
        ..start_request()
    };
    client.start_run(request).await.unwrap();
    let found = results(&watch(&mut client).await);
    assert_eq!((found.candidates.accepted, found.candidates.open), (5, 5));
    assert_eq!(
        (found.candidates.generated, found.candidates.errors),
        (5, 0)
    );
}

#[tokio::test]
async fn refusals_and_errors_are_settled_and_other_attempts_go_on() {
    let world = World::new().await;
    *world.generator.rule.lock().unwrap() = |spec| match spec.seed % 5 {
        0 => Ok(Candidate {
            outcome: Outcome::SafetyBlock.into(),
            image: None,
            ..support::generator::image(spec, "good")
        }),
        1 => Err(Status::internal("broken pipe")),
        2 => Ok(support::generator::image(spec, "error-clip")),
        3 => Ok(support::generator::image(spec, "undecodable")),
        _ => Ok(support::generator::image(spec, "good")),
    };
    let mut client = world.orchestrator().await;
    client.start_run(start_request()).await.unwrap();
    let found = results(&watch(&mut client).await);
    assert_eq!(found.candidates.open, 0);
    assert_eq!(found.candidates.accepted + found.candidates.exhausted, 10);
    assert!(found.candidates.rejected_by["generator:safety_block"] > 0);
    assert_eq!(
        found.candidates.rejected_by["error"],
        found.candidates.errors
    );
    assert!(
        found
            .candidates
            .errors_by_message
            .keys()
            .any(|message| message.contains("broken pipe"))
    );
    assert!(
        found
            .candidates
            .errors_by_message
            .keys()
            .any(|message| message.contains("gate \"clip\""))
    );
}

#[tokio::test]
async fn a_generator_that_always_fails_stops_the_run_before_it_burns_the_plan() {
    let world = World::new().await;
    *world.generator.rule.lock().unwrap() = |_| Err(Status::unavailable("no key has quota left"));
    let mut client = world.orchestrator().await;
    client.start_run(start_request()).await.unwrap();
    let events = watch(&mut client).await;
    let Some(Event::Failed(failed)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(failed.stage, "generate");
    assert!(
        failed.message.contains("no key has quota left")
            && failed.message.contains("generator at http://"),
        "{}",
        failed.message
    );
    assert!(world.store.lock().settled.len() < 16);
    assert!(
        world
            .store
            .lock()
            .slots
            .values()
            .all(|slot| slot.holder.is_none())
    );
}

#[tokio::test]
async fn a_gate_nobody_listens_for_stops_the_run_with_its_name_and_address() {
    let mut world = World::new().await;
    world.config.addresses.ssim_gate = support::nobody().await;
    let mut client = world.orchestrator().await;
    client.start_run(start_request()).await.unwrap();
    let events = watch(&mut client).await;
    let Some(Event::Failed(failed)) = events.last() else {
        panic!("{events:?}")
    };
    assert!(
        failed.message.contains("\"ssim\"")
            && failed.message.contains(&world.config.addresses.ssim_gate),
        "{}",
        failed.message
    );
    assert!(world.store.lock().settled.is_empty());
}
