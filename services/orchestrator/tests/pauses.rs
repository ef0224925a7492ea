//! Runs with several backends of which one cannot be asked for a while: the others go on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use saga_chassis::status::quota_exhausted;
use saga_proto::{
    generator::v1::{Candidate, CandidateSpec},
    orchestrator::v1::{StartRunRequest, start_run_request, watch_run_response::Event},
};
use support::{RECIPE, World, generator::image, results, start_request, watch};
use tonic::Status;

/// A run with two backends, of which `rule` answers for the one named "paid".
async fn run(
    allocation: &str,
    rule: fn(&CandidateSpec) -> Result<Candidate, Status>,
) -> (World, Vec<Event>) {
    let world = World::new().await;
    *world.generator.rule.lock().unwrap() = rule;
    let text = RECIPE
        .replace(
            "backend = \"fake\"",
            "backends = [{ name = \"as-dear\" }, { name = \"paid\" }]",
        )
        .replace("allocation = \"confusion\"", allocation);
    let mut client = world.orchestrator().await;
    let request = StartRunRequest {
        recipe: Some(start_run_request::Recipe::RecipeToml(text)),
        ..start_request()
    };
    client.start_run(request).await.unwrap();
    let events = watch(&mut client).await;
    (world, events)
}

/// Backends of the candidates in the order of settlement.
fn settled(world: &World) -> Vec<String> {
    let state = world.store.lock();
    let backend = |id: &String| state.settled[id].0.backend.clone();
    state.order.iter().map(backend).collect()
}

#[tokio::test]
async fn in_turn_the_others_make_theirs_and_the_run_then_waits() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let (world, events) = run("allocation = \"balance\"", |spec| {
        if spec.backend == "paid" && ASKED.fetch_add(1, Ordering::Relaxed) == 0 {
            let wait = Duration::from_millis(1_500);
            return Err(quota_exhausted("QUOTA_EXHAUSTED", "no key is free", wait));
        }
        Ok(image(spec, "good"))
    })
    .await;
    let found = results(&events);
    assert_eq!(
        (found.candidates.accepted, found.candidates.errors),
        (10, 0)
    );
    let waited = |event: &Event| matches!(event, Event::StageProgress(p) if p.waiting_for == "no key is free");
    assert!(events.iter().any(waited));
    // The first slots are leased together: others of them may have been asked of the resting backend at the same time.
    let order = settled(&world);
    let paid = order.iter().filter(|name| *name == "paid").count();
    let last_other = order.iter().rposition(|name| name == "as-dear").unwrap();
    let before = order[..last_other].iter().filter(|name| *name == "paid");
    assert!(paid >= 4 && before.count() <= 2, "{order:?}");
}

#[tokio::test]
async fn a_bandit_draws_from_those_that_can_be_asked_and_does_not_wait() {
    let (world, events) = run("allocation = \"bandit\"", |spec| {
        if spec.backend == "paid" {
            let wait = Duration::from_secs(36_000);
            return Err(quota_exhausted("QUOTA_EXHAUSTED", "no key is free", wait));
        }
        Ok(image(spec, "good"))
    })
    .await;
    assert_eq!(results(&events).candidates.accepted, 10);
    assert!(settled(&world).iter().all(|name| name == "as-dear"));
    // Of the slots that were leased before the first refusal alone.
    let asked = world.generator.asked.lock().unwrap().clone();
    let paid = asked.iter().filter(|spec| spec.backend == "paid").count();
    assert!((1..=3).contains(&paid), "{paid}");
}

#[tokio::test]
async fn a_bandit_comes_back_for_what_a_batch_brings() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let (world, events) = run("allocation = \"bandit\"", |spec| {
        if spec.backend == "paid" {
            let wait = Duration::from_millis(300);
            if ASKED.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err(quota_exhausted(
                    "BATCH_PENDING",
                    "a batch is under way",
                    wait,
                ));
            }
        }
        Ok(image(spec, "good"))
    })
    .await;
    assert_eq!(results(&events).candidates.accepted, 10);
    let asked = world.generator.asked.lock().unwrap().clone();
    let mut paid = asked.iter().filter(|spec| spec.backend == "paid");
    let first = paid.next().expect("the bandit tries every arm");
    assert!(paid.any(|spec| spec.candidate_id == first.candidate_id));
}
