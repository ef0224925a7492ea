//! Evaluations of finished runs against services that are made for the test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use futures::StreamExt as _;
use orchestrator::evaluation::{conclude, figures::Evaluation};
use saga_proto::{
    evaluation::v1::{
        EvaluateRequest, evaluate_response::Event,
        evaluation_service_client::EvaluationServiceClient,
    },
    labelstore::v1::Settlement,
    trainer::v1::{Sampling, StreamTrainingRequest},
};
use saga_statistics::verdict::Verdict;
use support::{World, start_request, watch};
use tonic::{Code, Status};

async fn evaluate(world: &World, request: EvaluateRequest) -> Result<Vec<Event>, Status> {
    let mut client = EvaluationServiceClient::connect(world.serve().await)
        .await
        .unwrap();
    let events = client.evaluate(request).await?.into_inner();
    Ok(events
        .map(|event| event.unwrap().event.unwrap())
        .collect()
        .await)
}

fn request(arms: &[&str], seeds: u32) -> EvaluateRequest {
    EvaluateRequest {
        run_id: "r".into(),
        arms: arms.iter().map(|&arm| arm.to_owned()).collect(),
        seeds,
        steps: 0,
    }
}

fn finished(events: &[Event]) -> Evaluation {
    match events.last().unwrap() {
        Event::Finished(finished) => serde_json::from_str(&finished.evaluation_json).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A world whose run has ended.
async fn after_a_run(rule: support::generator::Rule) -> World {
    let world = World::new().await;
    *world.generator.rule.lock().unwrap() = rule;
    let mut client = world.orchestrator().await;
    client.start_run(start_request()).await.unwrap();
    watch(&mut client).await;
    world
}

fn jobs(world: &World, arm: &str) -> Vec<StreamTrainingRequest> {
    let jobs = world.trainer.jobs.lock().unwrap();
    let prefix = format!("r/eval/{arm}-");
    jobs.iter()
        .filter(|job| job.output.starts_with(&prefix))
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn arms_are_trained_alike_judged_on_one_read_and_decided_upon() {
    let world = after_a_run(|spec| Ok(support::generator::image(spec, "good"))).await;
    let evaluation = finished(&evaluate(&world, request(&[], 3)).await.unwrap());

    let names: Vec<_> = evaluation
        .arms
        .iter()
        .map(|arm| arm.name.as_str())
        .collect();
    assert_eq!(names[..2], ["plain", "class_weighted"]);
    assert_eq!((names.len(), evaluation.seeds.clone()), (8, vec![1, 2, 3]));
    // The plain model takes every c for an a, the others know everything.
    let balanced = |arm: usize| evaluation.arms[arm].balanced_accuracy.value;
    assert!((balanced(0) - 2.0 / 3.0).abs() < 1e-9 && (balanced(6) - 1.0).abs() < 1e-9);
    assert_eq!(evaluation.comparisons.len(), 7 + 6);
    // Four golden images a class show too few people.
    assert!(evaluation.golden.well_sampled.is_empty());
    assert!(evaluation.arms.iter().all(|arm| arm.well_sampled.is_none()));
    // Repeated real images do as well, so that the gain is none of the images' own.
    assert_eq!(
        evaluation.verdict,
        Verdict::Undecided,
        "{}",
        evaluation.reason
    );
    assert!(
        evaluation.reason.contains("duplicate_tail"),
        "{}",
        evaluation.reason
    );

    let [plain, gated, weighted, balanced, adjusted] = [
        "plain",
        "gated",
        "class_weighted",
        "balanced_sampling",
        "logit_adjusted",
    ]
    .map(|arm| jobs(&world, arm));
    assert_eq!(
        plain.iter().map(|job| job.seed).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!((plain[0].extra.len(), gated[0].extra.len()), (0, 10));
    assert_eq!(plain[0].settings, gated[0].settings);
    assert!(weighted[0].settings.unwrap().class_weights);
    assert_eq!(balanced[0].settings.unwrap().sampling(), Sampling::Balanced);
    assert_eq!(adjusted[0].settings.unwrap().logit_adjustment, 1.0);

    // The answers that come along say the same again.
    let answers = evaluation.answers.clone().unwrap();
    assert_eq!(
        answers.images.len() as u64,
        evaluation.golden.images.values().sum::<u64>()
    );
    let again = conclude(&[answers], evaluation.drift.clone()).unwrap();
    // Through JSON like the other, which may change the last digit.
    let again: Evaluation = serde_json::from_str(&serde_json::to_string(&again).unwrap()).unwrap();
    let without_answers = Evaluation {
        answers: None,
        ..evaluation.clone()
    };
    assert_eq!(again, without_answers);

    let reads = world.store.lock().golden_reads.clone();
    assert_eq!(reads.len(), 2);
    assert_eq!(reads[1].purpose, "evaluate arms");
    assert!(!evaluation.golden.read_again);
    assert_eq!(evaluation.golden.earlier_reads.len(), 1);
    let again = finished(
        &evaluate(&world, request(&["plain", "gated"], 1))
            .await
            .unwrap(),
    );
    assert!(again.golden.read_again);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accepted_images_under_a_correction_are_held_against_the_correction_alone() {
    let world = after_a_run(|spec| Ok(support::generator::image(spec, "good"))).await;
    let arms = [
        "plain",
        "class_weighted",
        "duplicate_tail",
        "gated_corrected",
    ];
    let evaluation = finished(&evaluate(&world, request(&arms, 1)).await.unwrap());
    let pairs: Vec<_> = evaluation
        .comparisons
        .iter()
        .map(|pair| (pair.arm.as_str(), pair.reference.as_str()))
        .filter(|(_, reference)| *reference != "plain")
        .collect();
    assert_eq!(
        pairs,
        [
            ("gated_class_weighted", "class_weighted"),
            ("gated_class_weighted", "duplicate_tail"),
            ("gated_balanced_sampling", "duplicate_tail"),
            ("gated_logit_adjusted", "duplicate_tail"),
        ]
    );
    // The model under class weights knows everything without them.
    let parts: Vec<_> = evaluation.reason.split("; ").collect();
    let [.., said, budget] = parts.as_slice() else {
        panic!("{parts:?}");
    };
    assert!(
        said.starts_with("class_weighted changes it by +33.33 points"),
        "{said}"
    );
    assert!(said.contains("on top of that by +0.00 points"), "{said}");
    assert!(
        budget.starts_with("no arm was tuned") && budget.ends_with("steps, 1"),
        "{budget}"
    );
    let [alone, gated] =
        ["class_weighted", "gated_class_weighted"].map(|arm| jobs(&world, arm).remove(0));
    assert_eq!(alone.settings, gated.settings);
    assert_eq!((alone.extra.len(), gated.extra.len()), (0, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn controls_have_the_counts_of_the_gated_arm() {
    let world = after_a_run(|spec| {
        let text = if spec.seed % 3 == 0 {
            "reject-clip"
        } else {
            "good"
        };
        Ok(support::generator::image(spec, text))
    })
    .await;
    evaluate(&world, request(&[], 1)).await.unwrap();
    let count = |arm: &str, label: &str| {
        let job = jobs(&world, arm).remove(0);
        job.extra
            .iter()
            .filter(|image| image.label == label)
            .count()
    };
    for arm in ["duplicate_tail", "ungated", "placebo"] {
        for label in ["a", "b", "c"] {
            assert_eq!(count(arm, label), count("gated", label), "{arm} {label}");
        }
    }
    let repeated = jobs(&world, "duplicate_tail").remove(0).extra;
    assert!(repeated.iter().all(|image| {
        image
            .image_id
            .starts_with(&format!("train-{}-", image.label))
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_gate_its_rejections_are_judged_by_the_others() {
    // Some only clip rejects, some clip and vit: the latter stay out.
    let world = after_a_run(|spec| {
        let text = match spec.seed % 3 {
            0 => "reject-clip",
            1 => "reject-clip reject-vit",
            _ => "good",
        };
        Ok(support::generator::image(spec, text))
    })
    .await;
    evaluate(&world, request(&["plain", "gated", "without_clip"], 1))
        .await
        .unwrap();
    let chosen = jobs(&world, "without_clip").remove(0).extra;
    let state = world.store.lock();
    let text = |id: &String| {
        let image = state.settled[id]
            .0
            .candidate
            .clone()
            .unwrap()
            .image
            .unwrap();
        String::from_utf8(image.data.to_vec()).unwrap()
    };
    assert!(
        chosen
            .iter()
            .any(|image| text(&image.image_id).contains("reject-clip"))
    );
    assert!(
        chosen
            .iter()
            .all(|image| !text(&image.image_id).contains("reject-vit"))
    );
    let admitted = state
        .settled
        .values()
        .filter(|(_, settled)| *settled == Settlement::Admitted)
        .count();
    assert!(chosen.len() >= admitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_keeps_nothing_out_costs_no_training() {
    let world = after_a_run(|spec| {
        let text = ["good", "reject-clip"][usize::from(spec.seed.is_multiple_of(3))];
        Ok(support::generator::image(spec, text))
    })
    .await;
    let arms = request(&["plain", "gated", "without_vit", "without_clip"], 2);
    let evaluation = finished(&evaluate(&world, arms).await.unwrap());
    let trained = ["gated", "without_vit", "without_clip"].map(|arm| jobs(&world, arm).len());
    assert_eq!(trained, [2, 0, 2]);
    let models = |arm: usize| {
        let answers = evaluation.answers.as_ref().unwrap();
        let models = answers.arms[arm].models.iter();
        models.map(|model| &model.directory).collect::<Vec<_>>()
    };
    assert_eq!(models(1), models(2));
    assert_ne!(models(1), models(3));
    assert_eq!(evaluation.arms[1].added, evaluation.arms[2].added);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_evaluated_is_refused_with_a_reason() {
    let world = World::new().await;
    let unknown = evaluate(&world, request(&[], 1)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let world = after_a_run(|spec| Ok(support::generator::image(spec, "reject-ssim"))).await;
    let failed = |events: Vec<Event>| match events.last().unwrap() {
        Event::Failed(failed) => failed.message.clone(),
        other => panic!("{other:?}"),
    };
    let none = failed(evaluate(&world, request(&["gated"], 1)).await.unwrap());
    assert!(none.contains("accepted no image"), "{none}");
    for (asked, why) in [
        (request(&["gatet"], 1), "\"gatet\" is no arm"),
        (request(&["plain"], 101), "at most 100"),
    ] {
        let refused = evaluate(&world, asked).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(why), "{refused}");
    }
}
