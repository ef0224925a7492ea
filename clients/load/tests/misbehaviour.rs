//! A gate that misbehaves under load is found out, and its figures tell how it felt to callers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use saga_load::{Failure, Load, Plan};
use support::{Fault, fake_gate, load, options};

const OPEN: Plan = Plan::Single(Load::Open { rate: 100.0 });

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_change_under_load_fail_the_run() {
    let (address, _gate) = fake_gate(Fault::Wrong).await;
    let report = load(&address, OPEN, options(400)).await;
    let Err(Failure::Mismatches { count, first, .. }) = report.check() else {
        panic!("{:?}", report.check());
    };
    let answers = report.steps[0].requests;
    assert!(
        count >= answers / 5 && count < answers / 2,
        "{count} of {answers}"
    );
    assert!(
        first.contains("scored 0.5 alone and 0.6 under load"),
        "{first}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_within_the_tolerance_is_rounding() {
    let (address, _gate) = fake_gate(Fault::Rounds(5e-4)).await;
    let mut options = options(200);
    assert!(load(&address, OPEN, options).await.mismatches() > 0);
    let (address, _gate) = fake_gate(Fault::Rounds(5e-4)).await;
    options.tolerance = 1e-3;
    assert_eq!(load(&address, OPEN, options).await.check(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_is_felt_by_all_who_arrived_during_it() {
    let stall = Duration::from_millis(300);
    let (address, _gate) = fake_gate(Fault::Stalls(stall)).await;
    let report = load(&address, OPEN, options(1000)).await;
    let latency = report.steps[0].latency_ms.unwrap();
    // Some 30 of 100 arrive during the stall. Were only one of them late, the 90th percentile would know nothing of it.
    assert!(latency.max >= 290.0, "{latency:?}");
    assert!(
        latency.p90 >= 100.0 && latency.p90 < latency.max,
        "{latency:?}"
    );
    assert_eq!(report.check(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sheds_are_counted_by_their_code() {
    let (address, _gate) = fake_gate(Fault::Sheds).await;
    let open = load(&address, OPEN, options(500)).await;
    let step = &open.steps[0];
    let share = step.shed() as f64 / step.requests as f64;
    assert!((share - 0.25).abs() < 0.05, "{:?}", step.outcomes);
    assert!((step.goodput_share - (1.0 - share)).abs() < 1e-9);
    assert_eq!(step.shed() + step.answers("OK"), step.requests);
    let (address, _gate) = fake_gate(Fault::Sheds).await;
    let closed = Plan::Single(Load::Closed { concurrency: 4 });
    let closed = load(&address, closed, options(300)).await;
    assert!(closed.steps[0].shed() > 0 && closed.steps[0].throughput > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_never_answers_exceeds_the_deadline() {
    let (address, _gate) = fake_gate(Fault::Silent).await;
    let mut options = options(300);
    options.deadline = Duration::from_millis(100);
    let report = load(&address, OPEN, options).await;
    let step = &report.steps[0];
    assert_eq!(
        step.answers("DEADLINE_EXCEEDED"),
        step.requests,
        "{:?}",
        step.outcomes
    );
    assert!(step.latency_ms.unwrap().p50 >= 99.0);
    assert!(matches!(
        report.check(),
        Err(Failure::NothingAnswered { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_of_a_broken_gate_ends_at_the_peak() {
    let (address, _gate) = fake_gate(Fault::Breaks).await;
    let report = load(&address, Plan::Sweep { concurrency: 2 }, options(200)).await;
    assert_eq!(
        (report.steps.len(), report.peak, report.knee.is_some()),
        (1, Some(0.0), false)
    );
    let Err(Failure::NothingAnswered { outcomes }) = report.check() else {
        panic!("{:?}", report.check());
    };
    assert!(outcomes.contains("INTERNAL"), "{outcomes}");
}
