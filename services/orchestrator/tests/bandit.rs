//! Runs with several backends and a bandit: what is asked of whom, and what the results tell of the arms.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use saga_proto::{
    generator::v1::{Candidate, CandidateSpec, Provenance},
    orchestrator::v1::{StartRunRequest, start_run_request},
};
use support::{RECIPE, World, results, start_request, watch};
use tonic::Status;

/// The recipe with two backends, of which the second is never refused.
fn request(allocation: &str) -> StartRunRequest {
    let text = RECIPE
        .replace(
            "backend = \"fake\"",
            "backends = [{ name = \"fake\" }, { name = \"paid\", parameters = { model = \"m\" } }]",
        )
        .replace("allocation = \"confusion\"", allocation);
    StartRunRequest {
        recipe: Some(start_run_request::Recipe::RecipeToml(text)),
        ..start_request()
    }
}

fn rule(spec: &CandidateSpec) -> Result<Candidate, Status> {
    let (text, cost_usd) = match spec.backend.as_str() {
        "paid" => ("good", 0.05),
        _ => ("reject-ssim", 0.0),
    };
    let provenance = Provenance {
        backend: spec.backend.clone(),
        cost_usd,
        ..Provenance::default()
    };
    Ok(Candidate {
        provenance: Some(provenance),
        ..support::generator::image(spec, text)
    })
}

#[tokio::test]
async fn backends_take_turns_each_with_its_own_parameters_and_exemplars() {
    let world = World::new().await;
    *world.generator.rule.lock().unwrap() = rule;
    let mut client = world.orchestrator().await;
    client
        .start_run(request("allocation = \"balance\""))
        .await
        .unwrap();
    let found = results(&watch(&mut client).await);
    assert_eq!(found.generator, "fake, paid");
    assert_eq!((found.candidates.accepted, found.candidates.open), (10, 0));
    for spec in world.generator.asked.lock().unwrap().iter() {
        let paid = spec.backend == "paid";
        assert_eq!(spec.parameters.contains_key("model"), paid);
        assert_eq!(spec.exemplars.is_empty(), paid);
    }
    let (refused, accepted): (Vec<_>, Vec<_>) =
        found.arms.iter().partition(|arm| arm.backend == "fake");
    assert!(
        refused
            .iter()
            .all(|arm| (arm.accepted, arm.usd_per_accepted) == (0, None))
    );
    assert!(accepted.iter().all(
        |arm| arm.accept_rate == 1.0 && arm.text == format!("a photo of a {} face", arm.target)
    ));
    assert_eq!(accepted.iter().map(|arm| arm.accepted).sum::<u64>(), 10);
    let spent: f64 = found.arms.iter().map(|arm| arm.cost_usd).sum();
    assert!((spent - 0.5).abs() < 1e-9, "{spent}");
}

#[tokio::test]
async fn a_bandit_fills_the_plan_from_other_classes_and_chooses_the_same_again() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let world = World::new().await;
        *world.generator.rule.lock().unwrap() = rule;
        let mut client = world.orchestrator().await;
        let one_at_a_time = request("allocation = \"bandit\"");
        let Some(start_run_request::Recipe::RecipeToml(text)) = one_at_a_time.recipe else {
            unreachable!()
        };
        let text = text
            .replace("in_flight = 3", "in_flight = 1")
            .replace("tries_per_source = 2", "tries_per_source = 20");
        client
            .start_run(StartRunRequest {
                recipe: Some(start_run_request::Recipe::RecipeToml(text)),
                ..start_request()
            })
            .await
            .unwrap();
        let found = results(&watch(&mut client).await);
        assert_eq!((found.candidates.accepted, found.candidates.open), (10, 0));
        assert!(found.arms.iter().all(|arm| arm.source != arm.target));
        let sources = found.arms.iter().map(|arm| arm.source.as_str());
        assert_eq!(sources.collect::<std::collections::BTreeSet<_>>().len(), 3);
        let asked = world.generator.asked.lock().unwrap().clone();
        runs.push(
            asked
                .into_iter()
                .map(|spec| {
                    (
                        spec.backend,
                        spec.source_label,
                        spec.target_label,
                        spec.seed,
                    )
                })
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(runs[0], runs[1]);
}
