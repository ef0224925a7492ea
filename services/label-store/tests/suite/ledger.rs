//! The ledger: quotas hold in every window and survive a restart, answers are given once, budgets end.

use std::sync::atomic::Ordering;

use label_store::{
    Clock, StoreError,
    ledger::{self, Answer, Ended, Key, Limit, Operation, Permit, Reserved, Wanted},
};
use proptest::prelude::*;
use prost::bytes::Bytes;

use crate::common::{Fixture, START, noise, open};

const MINUTE: i64 = 60_000;
/// `OUTCOME_IMAGE` and `OUTCOME_SAFETY_BLOCK`.
const IMAGE: i32 = 1;
const SAFETY_BLOCK: i32 = 2;

fn key(name: &str, per_minute: u32) -> Key {
    let limits = vec![Limit {
        requests: per_minute,
        period_ms: MINUTE,
    }];
    Key {
        name: name.into(),
        limits,
    }
}

fn wanted(id: &str, keys: Vec<Key>) -> Wanted {
    Wanted {
        request_id: id.into(),
        backend: "gemini".into(),
        keys,
        cost_usd: 0.04,
        budget: "run".into(),
        max_cost_usd: None,
        max_wait_ms: 2 * MINUTE,
        max_tries: 3,
    }
}

async fn permit(fixture: &Fixture, wanted: &Wanted) -> Permit {
    match ledger::reserve(&fixture.store, wanted).await.unwrap() {
        Reserved::Permit(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn image(seed: u64) -> Answer {
    Answer {
        outcome: IMAGE,
        image: Some(Bytes::from(noise(seed))),
        ..Answer::default()
    }
}

#[tokio::test]
async fn the_key_that_is_free_soonest_is_taken_and_of_several_the_one_used_least_recently() {
    let fixture = Fixture::new().await;
    let keys = vec![key("a", 1), key("b", 2)];
    let mut taken = Vec::new();
    for request in 0..5 {
        fixture.advance(1_000);
        let permit = permit(&fixture, &wanted(&request.to_string(), keys.clone())).await;
        taken.push((permit.key, permit.wait_ms));
    }
    let expected = [("a", 0), ("b", 0), ("b", 0), ("a", 57_000), ("b", 57_000)];
    assert_eq!(taken, expected.map(|(key, wait)| (key.to_owned(), wait)));
}

#[tokio::test]
async fn a_quota_that_is_used_up_survives_a_restart_and_tells_when_to_come_back() {
    let fixture = Fixture::new().await;
    let mut daily = key("a", 100);
    daily.limits.push(Limit {
        requests: 2,
        period_ms: 24 * 60 * MINUTE,
    });
    for request in ["1", "2"] {
        permit(&fixture, &wanted(request, vec![daily.clone()])).await;
    }
    fixture.advance(MINUTE);
    let Fixture { folder, store, now } = fixture;
    store.close().await;
    let store = open(folder.path(), Clock::Manual(now)).await;
    let error = ledger::reserve(&store, &wanted("3", vec![daily]))
        .await
        .unwrap_err();
    let StoreError::Exhausted { retry_ms, message } = error else {
        panic!("{error}")
    };
    assert_eq!(retry_ms, (24 * 60 - 1) * MINUTE);
    assert!(
        message.contains("'a' is free first, in 86340 s"),
        "{message}"
    );
}

#[tokio::test]
async fn an_answer_is_given_again_also_after_a_restart_and_never_paid_twice() {
    let fixture = Fixture::new().await;
    let request = wanted("1", vec![key("a", 100)]);
    let first = permit(&fixture, &request).await;
    // The try fails for nothing, the next one brings the image.
    assert_eq!(
        ledger::settle(
            &fixture.store,
            &first.id,
            Some(0.0),
            Ended::Failed("HTTP 503".into())
        )
        .await
        .unwrap(),
        0.0
    );
    let second = permit(&fixture, &request).await;
    let cost = ledger::settle(
        &fixture.store,
        &second.id,
        Some(0.03),
        Ended::Answered(image(1)),
    )
    .await;
    assert_eq!(cost.unwrap(), 0.03);
    // A second word about the same permit changes nothing.
    let block = Answer {
        outcome: SAFETY_BLOCK,
        ..Answer::default()
    };
    let again = ledger::settle(
        &fixture.store,
        &second.id,
        Some(9.0),
        Ended::Answered(block),
    )
    .await;
    assert_eq!(again.unwrap(), 0.03);
    let Fixture { folder, store, now } = fixture;
    store.close().await;
    let store = open(folder.path(), Clock::Manual(now)).await;
    assert_eq!(store.audit().await.unwrap(), label_store::Audit::default());
    let expected = Answer {
        cost_usd: 0.03,
        ..image(1)
    };
    let answer = ledger::reserve(&store, &request).await.unwrap();
    assert_eq!(answer, Reserved::Answer(expected));
    let spending = ledger::spending(&store, "run").await.unwrap();
    assert_eq!(
        (spending[0].tries, spending[0].outcomes.as_slice()),
        (2, [(Some(IMAGE), 1)].as_slice())
    );
}

#[tokio::test]
async fn a_try_that_goes_on_at_the_server_is_given_again_after_a_restart_until_it_ends() {
    let fixture = Fixture::new().await;
    let request = wanted("1", vec![key("a", 1)]);
    let first = permit(&fixture, &request).await;
    let name = || Ended::Continues("batches/17".into());
    let reserved = ledger::settle(&fixture.store, &first.id, None, name()).await;
    assert_eq!(reserved.unwrap(), request.cost_usd);
    let Fixture { folder, store, now } = fixture;
    store.close().await;
    let store = open(folder.path(), Clock::Manual(now)).await;
    let expected = Operation {
        permit: first.id.clone(),
        key: "a".into(),
        name: "batches/17".into(),
    };
    let again = || ledger::reserve(&store, &request);
    assert_eq!(again().await.unwrap(), Reserved::Operation(expected));
    let expired = Ended::Failed("expired".into());
    assert_eq!(
        ledger::settle(&store, &first.id, Some(0.0), expired)
            .await
            .unwrap(),
        0.0
    );
    // A name that comes late brings nothing back.
    ledger::settle(&store, &first.id, None, name())
        .await
        .unwrap();
    assert!(matches!(again().await.unwrap(), Reserved::Permit(_)));
    let empty = ledger::settle(&store, &first.id, None, Ended::Continues(String::new())).await;
    assert!(matches!(empty, Err(StoreError::Invalid { field, .. }) if field == "operation"));
}

#[tokio::test]
async fn tries_end() {
    let fixture = Fixture::new().await;
    let request = wanted("1", vec![key("a", 100)]);
    for _ in 0..3 {
        let permit = permit(&fixture, &request).await;
        ledger::settle(
            &fixture.store,
            &permit.id,
            Some(0.0),
            Ended::Failed("HTTP 503".into()),
        )
        .await
        .unwrap();
    }
    let error = ledger::reserve(&fixture.store, &request).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Precondition { reason: "TRIES_USED_UP", message } if message.contains("HTTP 503")),
        "{error}"
    );
}

#[tokio::test]
async fn a_budget_counts_what_is_under_way_and_ends_before_it_is_overspent() {
    let fixture = Fixture::new().await;
    let request = |id: &str| Wanted {
        max_cost_usd: Some(0.12),
        ..wanted(id, vec![key("a", 100)])
    };
    let spent = |error: StoreError| {
        assert!(
            matches!(
                &error,
                StoreError::Precondition {
                    reason: "BUDGET_SPENT",
                    ..
                }
            ),
            "{error}"
        );
    };
    let first = permit(&fixture, &request("1")).await;
    permit(&fixture, &request("2")).await;
    permit(&fixture, &request("3")).await;
    spent(
        ledger::reserve(&fixture.store, &request("4"))
            .await
            .unwrap_err(),
    );
    // The first cost nothing after all, so one more goes.
    ledger::settle(
        &fixture.store,
        &first.id,
        Some(0.0),
        Ended::Failed("HTTP 503".into()),
    )
    .await
    .unwrap();
    permit(&fixture, &request("4")).await;
    spent(
        ledger::reserve(&fixture.store, &request("5"))
            .await
            .unwrap_err(),
    );
    // Another budget has its own money.
    let other = Wanted {
        budget: "other".into(),
        ..request("6")
    };
    permit(&fixture, &other).await;
}

#[tokio::test]
async fn a_clock_that_was_set_back_between_two_starts_blocks_no_key() {
    let fixture = Fixture::new().await;
    fixture.advance(1_000 * MINUTE);
    permit(&fixture, &wanted("1", vec![key("a", 1)])).await;
    let Fixture { folder, store, now } = fixture;
    store.close().await;
    now.store(START, Ordering::Relaxed);
    let store = open(folder.path(), Clock::Manual(now)).await;
    let reserved = ledger::reserve(&store, &wanted("2", vec![key("a", 1)])).await;
    let Reserved::Permit(permit) = reserved.unwrap() else {
        panic!()
    };
    assert_eq!(permit.wait_ms, MINUTE);
}

#[tokio::test]
async fn bad_requests_name_the_field() {
    let fixture = Fixture::new().await;
    let good = || wanted("1", vec![key("a", 1)]);
    let fails = async |wanted: Wanted, field: &str| {
        let error = ledger::reserve(&fixture.store, &wanted).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Invalid { field: f, .. } if f == field),
            "{error}"
        );
    };
    fails(
        Wanted {
            request_id: "a/b".into(),
            ..good()
        },
        "request_id",
    )
    .await;
    fails(
        Wanted {
            backend: String::new(),
            ..good()
        },
        "backend",
    )
    .await;
    fails(
        Wanted {
            keys: vec![],
            ..good()
        },
        "keys",
    )
    .await;
    fails(
        Wanted {
            keys: vec![key("a", 0)],
            ..good()
        },
        "keys[0].limits",
    )
    .await;
    fails(
        Wanted {
            keys: vec![key("a", 1), key("a", 2)],
            ..good()
        },
        "keys[1].name",
    )
    .await;
    fails(
        Wanted {
            cost_usd: f64::NAN,
            ..good()
        },
        "cost_usd",
    )
    .await;
    fails(
        Wanted {
            max_cost_usd: Some(-1.0),
            ..good()
        },
        "budget.max_cost_usd",
    )
    .await;
    let nobodys = Wanted {
        budget: String::new(),
        max_cost_usd: Some(1.0),
        ..good()
    };
    fails(nobodys, "budget.id").await;
    fails(
        Wanted {
            max_wait_ms: -1,
            ..good()
        },
        "max_wait",
    )
    .await;
    fails(
        Wanted {
            max_tries: 0,
            ..good()
        },
        "max_tries",
    )
    .await;
    let unknown =
        ledger::settle(&fixture.store, "none.0", None, Ended::Failed(String::new())).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever the pauses between requests, no window of a key holds more than it allows, and nobody waits while a key is free.
    #[test]
    fn no_window_of_any_key_holds_more_than_it_allows(
        limits in prop::collection::vec((1_u32..6, 1_000_i64..20_000), 1..4),
        pauses in prop::collection::vec(0_i64..4_000, 40..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new().await;
            let keys: Vec<Key> = limits.iter().enumerate().map(|(i, (requests, period_ms))| Key {
                name: i.to_string(),
                limits: vec![Limit { requests: *requests, period_ms: *period_ms }],
            }).collect();
            let mut sent: Vec<Vec<i64>> = vec![Vec::new(); keys.len()];
            for (request, pause) in pauses.iter().enumerate() {
                fixture.advance(*pause);
                let now = fixture.now.load(Ordering::Relaxed);
                let wanted = Wanted { max_wait_ms: ledger::MAX_WAIT_MS, ..wanted(&request.to_string(), keys.clone()) };
                let permit = permit(&fixture, &wanted).await;
                let at = now + permit.wait_ms;
                let free = |(times, (requests, period)): (&Vec<i64>, &(u32, i64))| {
                    times.iter().filter(|time| **time > now - period).count() < *requests as usize
                };
                prop_assert!(permit.wait_ms == 0 || !sent.iter().zip(&limits).any(free));
                sent[permit.key.parse::<usize>().unwrap()].push(at);
            }
            for (times, (requests, period)) in sent.iter().zip(&limits) {
                for start in times {
                    let within = times.iter().filter(|time| (*start..start + period).contains(time)).count();
                    prop_assert!(within <= *requests as usize);
                }
            }
            Ok(())
        })?;
    }
}
