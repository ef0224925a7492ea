//! The real ssim-gate under load: open loop, closed loop and a small sweep, with the log they leave.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};
use saga_load::{
    Event, Failure, Load, LoadError, Options, Plan, SWEEP, Sample, Target, Wording, Workload,
    histogram_log,
};
use support::{load, options, samples};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A gate on a free port, which stops with its test.
async fn ssim_gate() -> (String, DropGuard) {
    let mut config = ssim_gate::Config::default();
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.work.workers = 2;
    let shutdown = CancellationToken::new();
    let running = ssim_gate::start(config, shutdown.clone()).await.unwrap();
    (running.addr.to_string(), shutdown.drop_guard())
}

/// SSIM knows no rounding: every answer must be the very same.
fn exact(milliseconds: u64) -> Options {
    Options {
        tolerance: 0.0,
        ..options(milliseconds)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_loop_keeps_its_rate_and_tells_where_the_time_goes() {
    let (address, _gate) = ssim_gate().await;
    let plan = Plan::Single(Load::Open { rate: 60.0 });
    let report = load(&address, plan, exact(500)).await;
    assert_eq!(report.check(), Ok(()));
    assert_eq!(report.gate.name, "ssim");
    let step = &report.steps[0];
    assert!((15..=50).contains(&step.requests), "{}", step.requests);
    assert_eq!(step.answers("OK"), step.requests);
    assert_eq!(step.goodput_share, 1.0);
    let (latency, stages) = (step.latency_ms.unwrap(), step.stages_ms.unwrap());
    assert!(latency.p50 <= latency.p99 && latency.p99 <= latency.max);
    let whole =
        stages.queue.mean + stages.decode.mean + stages.compute.mean + stages.elsewhere.mean;
    assert!(
        (whole / latency.mean - 1.0).abs() < 0.01,
        "{whole} of {}",
        latency.mean
    );
    assert!(stages.compute.mean > 0.0 && stages.decode.mean > 0.0);
    assert_eq!(step.batch_sizes.values().sum::<u64>(), step.requests);
    assert!(step.lateness.unwrap().max_ms < latency.max);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_closed_loop_finds_a_throughput() {
    let (address, _gate) = ssim_gate().await;
    let plan = Plan::Single(Load::Closed { concurrency: 4 });
    let report = load(&address, plan, exact(300)).await;
    assert_eq!(report.check(), Ok(()));
    let step = &report.steps[0];
    assert!(step.throughput > 10.0, "{}", step.throughput);
    assert!((step.throughput * step.seconds - step.requests as f64).abs() < 1e-6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_steps_through_the_shares_of_the_peak_and_leaves_a_log() {
    let (address, _gate) = ssim_gate().await;
    let report = load(&address, Plan::Sweep { concurrency: 4 }, exact(200)).await;
    assert_eq!(report.mismatches(), 0);
    assert_eq!(report.steps.len(), 1 + SWEEP.len());
    let peak = report.peak.unwrap();
    for (step, share) in report.steps[1..].iter().zip(SWEEP) {
        assert_eq!(step.load, Load::Open { rate: peak * share });
        assert_eq!(step.name, format!("{:.0}%", share * 100.0));
    }
    if let Some(knee) = &report.knee {
        assert!(report.steps.iter().any(|step| step.name == knee.step));
    }

    let mut log = Vec::new();
    histogram_log::write(&report, &mut log).unwrap();
    let text = std::str::from_utf8(&log).unwrap();
    assert!(
        text.starts_with("#[Histogram log format version 1.3]\n"),
        "{text}"
    );
    let mut logged = 0;
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.unwrap() else {
            continue;
        };
        let step = report
            .steps
            .iter()
            .find(|step| step.name == *interval.tag().unwrap());
        assert!(interval.duration().as_secs_f64() <= step.unwrap().seconds + 1e-3);
        let encoded = BASE64.decode(interval.encoded_histogram()).unwrap();
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &*encoded).unwrap();
        logged += histogram.len();
    }
    let answered = |code| {
        report
            .steps
            .iter()
            .map(|step| step.answers(code))
            .sum::<u64>()
    };
    assert_eq!(logged, answered("OK") + answered("DEADLINE_EXCEEDED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_the_gate_refuses_is_named_before_the_load() {
    let (address, _gate) = ssim_gate().await;
    let target = Target::connect(&address, 1).await.unwrap();
    let bad = Sample {
        name: "notes.jpg".to_owned(),
        candidate: "no picture".into(),
        ..samples(1)[0].clone()
    };
    let refused = Workload::learn(&target, &[bad], &Wording::default(), |_| ()).await;
    let Err(LoadError::Refused { item, status }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(item, "notes.jpg");
    assert!(
        status.message().contains("item.candidate.data"),
        "{status:?}"
    );
    let none = Workload::learn(&target, &[], &Wording::default(), |_| ()).await;
    assert!(matches!(none, Err(LoadError::NoItems)));
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error() {
    let nobody = Target::connect("127.0.0.1:1", 4).await;
    assert!(matches!(nobody, Err(LoadError::Connect(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_load_with_what_was_measured() {
    let (address, _gate) = ssim_gate().await;
    let target = Target::connect(&address, 1).await.unwrap();
    let workload = Workload::learn(&target, &samples(2), &Wording::default(), |_| ())
        .await
        .unwrap();
    let stop = CancellationToken::new();
    // Stopped as soon as something was measured; the step would take an hour.
    let mut on = |event: Event<'_>| {
        if matches!(event, Event::Running { answered, .. } if answered > 3) {
            stop.cancel();
        }
    };
    let plan = Plan::Single(Load::Open { rate: 50.0 });
    let report = saga_load::run(&target, workload, plan, exact(3_600_000), &stop, &mut on)
        .await
        .unwrap();
    assert!(report.interrupted && report.steps[0].requests > 3);
    let offered = report.steps[0].offered.unwrap();
    assert!((10.0..200.0).contains(&offered), "{offered}");
    assert_eq!(report.check(), Err(Failure::Interrupted));
}
