//! Arms: a caller's choice among a slot's sources, what it is counted as, and the number that makes it repeatable.

use label_store::{
    StoreError,
    admission::{Attempt, settle},
    arms::arms,
    candidate::{Provenance, Settlement},
    runs, slots,
};

use crate::common::{Fixture, attempt, plan, rejected, run};

const COUNTS: &[(&str, u32)] = &[("neutral", 40), ("sad", 20), ("fear", 10)];
const SLOT: &str = "run/fear/00000";

/// A run with `n` slots for fear, two tries at each of a neutral and a sad image; those images.
async fn fixture(n: u32) -> (Fixture, [String; 2]) {
    let fixture = Fixture::with_run(COUNTS, 0.6, None).await;
    let sources = [
        fixture.train_ids(0).await[0].clone(),
        fixture.train_ids(1).await[0].clone(),
    ];
    assert_eq!(plan(&fixture.store, "fear", n, &sources, 2).await, n);
    (fixture, sources)
}

/// The same attempt, made from `source` for a quarter of a dollar.
fn from(attempt: Attempt, source: &str) -> Attempt {
    Attempt {
        source_image_id: source.into(),
        prompt_text: "a face".into(),
        backend: "noise".into(),
        provenance: Provenance {
            cost_usd: 0.25,
            ..Provenance::default()
        },
        ..attempt
    }
}

async fn lease(fixture: &Fixture, limit: u32) -> Vec<slots::Slot> {
    let (leased, _) = slots::lease(&fixture.store, "run", "me", limit, 1_000, &[])
        .await
        .unwrap();
    leased
}

fn images(slot: &slots::Slot) -> Vec<&str> {
    slot.sources.iter().map(|s| s.image_id.as_str()).collect()
}

#[tokio::test]
async fn a_source_may_be_chosen_while_it_has_tries_left() {
    let (fixture, [neutral, sad]) = fixture(1).await;
    for number in 0..2 {
        let choice = from(rejected(SLOT, number, number.into()), &sad);
        let settled = settle(&fixture.store, choice).await.unwrap();
        assert_eq!(settled, Settlement::Refunded);
    }
    assert_eq!(images(&lease(&fixture, 1).await[0]), [neutral.as_str()]);
    for source in [sad.as_str(), "nowhere"] {
        let refused = settle(&fixture.store, from(rejected(SLOT, 2, 2), source)).await;
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("source_image_id"), "{message}");
        assert!(message.contains("with tries left"), "{message}");
    }
    let unnamed = settle(&fixture.store, rejected(SLOT, 2, 2)).await.unwrap();
    let last = settle(&fixture.store, rejected(SLOT, 3, 3)).await.unwrap();
    assert_eq!(
        (unnamed, last),
        (Settlement::Refunded, Settlement::Exhausted)
    );
}

#[tokio::test]
async fn arms_are_counted_from_the_candidates_of_any_stretch() {
    let (fixture, [neutral, sad]) = fixture(3).await;
    let slot = |n| format!("run/fear/{n:05}");
    for choice in [
        from(rejected(&slot(0), 0, 0), &neutral),
        from(attempt(&slot(0), 1, 1), &sad),
        from(attempt(&slot(1), 0, 2), &sad),
        from(rejected(&slot(2), 0, 3), &sad),
    ] {
        settle(&fixture.store, choice).await.unwrap();
    }
    let counted = async |positions| {
        let arms = arms(&fixture.store, "run", positions).await.unwrap();
        let figures = arms.into_iter().map(|arm| {
            assert_eq!(
                (arm.target_label.as_str(), arm.backend.as_str()),
                ("fear", "noise")
            );
            (arm.source_label, arm.attempts, arm.accepted, arm.cost_usd)
        });
        figures.collect::<Vec<_>>()
    };
    let arm = |label: &str, attempts, accepted, cost| (label.to_owned(), attempts, accepted, cost);
    assert_eq!(
        counted(0..u64::MAX).await,
        [arm("neutral", 1, 0, 0.25), arm("sad", 3, 2, 0.75)]
    );
    assert_eq!(counted(2..4).await, [arm("sad", 2, 1, 0.5)]);
    assert_eq!(counted(4..9).await, []);
}

#[tokio::test]
async fn an_attempt_that_is_leased_again_knows_as_much_as_before() {
    let (fixture, [neutral, sad]) = fixture(2).await;
    let first = lease(&fixture, 1).await;
    assert_eq!((first[0].id.as_str(), first[0].settled), (SLOT, 0));
    settle(&fixture.store, from(rejected("run/fear/00001", 0, 1), &sad))
        .await
        .unwrap();
    fixture.advance(2_000);
    let again = lease(&fixture, 2).await;
    assert_eq!(again[0], first[0]);
    assert_eq!((again[1].attempt, again[1].settled), (1, 1));
    settle(&fixture.store, from(rejected(SLOT, 0, 2), &neutral))
        .await
        .unwrap();
    let next = lease(&fixture, 1).await;
    assert_eq!((next[0].attempt, next[0].settled), (1, 2));
}

#[tokio::test]
async fn a_plan_that_names_a_source_twice_is_refused() {
    let (fixture, [neutral, _]) = fixture(1).await;
    let twice = slots::SlotPlan {
        target_label: "fear".into(),
        ordinal: 7,
        source_image_ids: vec![neutral.clone(), neutral],
        tries_per_source: 1,
    };
    let refused = slots::add(&fixture.store, "run", &[twice]).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })));
}

#[tokio::test]
async fn a_class_is_filled_up_to_the_size_that_the_run_states() {
    let fixture = Fixture::with_run(COUNTS, 0.6, None).await;
    let real = i64::try_from(fixture.train_ids(2).await.len()).unwrap();
    let sized = runs::Run {
        class_size: Some(real + 1),
        ..run("sized", 0.6, None)
    };
    assert!(runs::create(&fixture.store, &sized).await.unwrap());
    let source = fixture.train_ids(0).await[..1].to_vec();
    let plans = [0, 1].map(|ordinal| slots::SlotPlan {
        target_label: "fear".into(),
        ordinal,
        source_image_ids: source.clone(),
        tries_per_source: 1,
    });
    slots::add(&fixture.store, "sized", &plans).await.unwrap();
    let mut settlements = Vec::new();
    for (seed, id) in (0..).zip(["sized/fear/00000", "sized/fear/00001"]) {
        let attempt = Attempt {
            run_id: "sized".into(),
            ..attempt(id, 0, seed)
        };
        settlements.push(settle(&fixture.store, attempt).await.unwrap());
    }
    assert_eq!(settlements, [Settlement::Admitted, Settlement::CapReached]);
}
