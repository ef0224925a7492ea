//! Slots against a model: whatever the order of leases, settlements, expiries and releases, both agree.

use std::collections::BTreeMap;

use label_store::{
    StoreError,
    admission::settle,
    candidate::Settlement,
    put_off::{PutOff, put_off},
    slots,
};
use proptest::prelude::*;

use crate::common::{Fixture, START, attempt, plan, rejected};

const TARGETS: [&str; 2] = ["fear", "sad"];
const TRIES: u32 = 2;

#[derive(Clone, Debug)]
enum Step {
    Lease {
        holder: usize,
        limit: u32,
        seconds: i64,
        paused: bool,
    },
    /// Puts off the n-th open slot, leased or not.
    PutOff {
        n: usize,
        holder: usize,
        seconds: i64,
        unasked: bool,
    },
    /// Ends the attempt of the n-th open slot, leased or not.
    Settle {
        n: usize,
        accepted: bool,
    },
    /// The same with an attempt that is not under way.
    Stale {
        n: usize,
    },
    Wait {
        seconds: i64,
    },
    Release {
        holder: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0usize..2, 1u32..5, 1i64..20, any::<bool>())
            .prop_map(|(holder, limit, seconds, paused)| Step::Lease { holder, limit, seconds, paused }),
        3 => (0usize..9, 0usize..2, 0i64..20, any::<bool>())
            .prop_map(|(n, holder, seconds, unasked)| Step::PutOff { n, holder, seconds, unasked }),
        4 => (0usize..9, any::<bool>()).prop_map(|(n, accepted)| Step::Settle { n, accepted }),
        1 => (0usize..9).prop_map(|n| Step::Stale { n }),
        2 => (0i64..15).prop_map(|seconds| Step::Wait { seconds }),
        1 => (0usize..2).prop_map(|holder| Step::Release { holder }),
    ]
}

/// What a slot should be.
#[derive(Clone, Debug)]
struct Expected {
    attempt: u32,
    open: bool,
    holder: Option<usize>,
    until: i64,
    /// Whether a backend was paused when the attempt was first leased.
    paused: Option<bool>,
}

/// Slots by ordinal and target: the order of leasing.
type Model = BTreeMap<(u32, usize), Expected>;

fn id((ordinal, target): (u32, usize)) -> String {
    format!("run/{}/{ordinal:05}", TARGETS[target])
}

fn nth_open(model: &Model, n: usize) -> Option<(u32, usize)> {
    let open: Vec<_> = model
        .iter()
        .filter(|(_, slot)| slot.open)
        .map(|(key, _)| *key)
        .collect();
    open.get(n % open.len().max(1)).copied()
}

async fn take(fixture: &Fixture, model: &mut Model, now: &mut i64, seed: u64, step: Step) {
    let store = &fixture.store;
    match step {
        Step::Wait { seconds } => {
            *now += seconds * 1_000;
            fixture.advance(seconds * 1_000);
        }
        Step::Lease {
            holder,
            limit,
            seconds,
            paused,
        } => {
            let names: Vec<String> = paused.then(|| "paid".to_owned()).into_iter().collect();
            let (holder_name, ttl) = (format!("h{holder}"), seconds * 1_000);
            let (leased, open) = slots::lease(store, "run", &holder_name, limit, ttl, &names)
                .await
                .unwrap();
            let free = model
                .iter_mut()
                .filter(|(_, s)| s.open && s.until <= *now)
                .take(limit as usize);
            let expected: Vec<_> = free
                .map(|(key, slot)| {
                    (slot.holder, slot.until) = (Some(holder), *now + seconds * 1_000);
                    (id(*key), slot.attempt, *slot.paused.get_or_insert(paused))
                })
                .collect();
            let leased: Vec<_> = leased
                .into_iter()
                .map(|slot| (slot.id, slot.attempt, slot.paused == ["paid"]))
                .collect();
            assert_eq!(leased, expected);
            assert_eq!(open as usize, model.values().filter(|s| s.open).count());
        }
        Step::PutOff {
            n,
            holder,
            seconds,
            unasked,
        } => {
            let Some(key) = nth_open(model, n) else {
                return;
            };
            let slot = model.get_mut(&key).unwrap();
            let request = PutOff {
                run_id: "run".into(),
                slot_id: id(key),
                attempt: slot.attempt,
                holder: format!("h{holder}"),
                wait_ms: seconds * 1_000,
                unasked,
            };
            put_off(store, &request).await.unwrap();
            if slot.holder == Some(holder) {
                slot.until = *now + seconds * 1_000;
                slot.paused = slot.paused.filter(|_| !unasked);
            }
        }
        Step::Settle { n, accepted } => {
            let Some(key) = nth_open(model, n) else {
                return;
            };
            let slot = model.get_mut(&key).unwrap();
            let make = if accepted { attempt } else { rejected };
            let settlement = settle(store, make(&id(key), slot.attempt, seed))
                .await
                .unwrap();
            let last = slot.attempt + 1 == TRIES;
            let expected = match (accepted, last) {
                (true, _) => Settlement::Admitted,
                (false, true) => Settlement::Exhausted,
                (false, false) => Settlement::Refunded,
            };
            assert_eq!(settlement, expected);
            slot.open = expected == Settlement::Refunded;
            slot.attempt += u32::from(slot.open);
            (slot.holder, slot.until, slot.paused) = (None, 0, None);
        }
        Step::Stale { n } => {
            let Some(key) = nth_open(model, n) else {
                return;
            };
            let error = settle(store, attempt(&id(key), model[&key].attempt + 1, seed))
                .await
                .unwrap_err();
            assert!(matches!(
                error,
                StoreError::Precondition {
                    reason: "STALE_ATTEMPT",
                    ..
                }
            ));
        }
        Step::Release { holder } => {
            let released = slots::release(store, "run", &format!("h{holder}"))
                .await
                .unwrap();
            let held = model
                .values_mut()
                .filter(|s| s.open && s.holder == Some(holder) && s.until > *now);
            let expected = held
                .map(|slot| (slot.holder, slot.until) = (None, 0))
                .count();
            assert_eq!(released as usize, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_store_and_the_model_agree(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::with_run(&[("neutral", 20), ("fear", 8), ("sad", 8)], 0.6, None).await;
            let sources = fixture.train_ids(0).await;
            let mut model = Model::new();
            for (target, label) in TARGETS.iter().enumerate() {
                plan(&fixture.store, label, 4, &sources[..1], TRIES).await;
                let slot = Expected { attempt: 0, open: true, holder: None, until: 0, paused: None };
                model.extend((0..4).map(|ordinal| ((ordinal, target), slot.clone())));
            }
            assert_eq!(plan(&fixture.store, "fear", 4, &sources[..2], 9).await, 0, "slots that are there stay");
            let mut now = START;
            for (seed, step) in (0..).zip(steps) {
                take(&fixture, &mut model, &mut now, seed, step).await;
            }
        });
    }
}
