//! What a recorder makes of answers in, before and after its window.

use super::*;

const DEADLINE: Duration = Duration::from_millis(100);

/// A recorder of two seconds after a warm-up of one, and when the load began.
fn recorder(load: Load) -> (Recorder, Instant) {
    let begun = Instant::now();
    let second = Duration::from_secs(1);
    let window = Window {
        from: begun + second,
        until: begun + 3 * second,
    };
    let limits = Limits {
        deadline: DEADLINE,
        max_lateness: Duration::from_millis(5),
    };
    (Recorder::new(load, window, limits).unwrap(), begun)
}

/// An answer `latency` milliseconds after the intended time, `at` milliseconds from the start.
fn answer(begun: Instant, at: u64, latency: u64, code: Code) -> Answer {
    let intended = begun + Duration::from_millis(at);
    Answer {
        intended,
        sent: intended,
        done: intended + Duration::from_millis(latency),
        code,
        timing: None,
        mismatch: None,
        pause: Duration::ZERO,
    }
}

const OPEN: Load = Load::Open { rate: 10.0 };

#[test]
fn the_open_loop_measures_what_was_due_after_the_warm_up() {
    let (mut recorder, begun) = recorder(OPEN);
    for (at, latency) in [(900, 500), (1000, 20), (2000, 40), (2999, 60), (3000, 10)] {
        recorder
            .record(answer(begun, at, latency, Code::Ok))
            .unwrap();
    }
    let step = recorder.finish("open", None);
    assert_eq!((step.requests, step.answers("OK")), (3, 3));
    assert_eq!(step.offered, Some(1.5));
    // The rates are of what was answered then: at 1.4 s, 1.02 s and 2.04 s.
    assert_eq!((step.seconds, step.throughput), (2.0, 1.5));
    assert_eq!((step.goodput, step.goodput_share), (1.0, 1.0));
    let latency = step.latency_ms.unwrap();
    assert!((latency.p50 - 40.0).abs() < 0.1 && (latency.max - 60.0).abs() < 0.1);
}

#[test]
fn the_closed_loop_measures_what_was_answered_after_the_warm_up() {
    let (mut recorder, begun) = recorder(Load::Closed { concurrency: 1 });
    for (at, latency) in [(0, 900), (900, 200), (1100, 1800), (2900, 200)] {
        recorder
            .record(answer(begun, at, latency, Code::Ok))
            .unwrap();
    }
    let step = recorder.finish("closed", None);
    assert_eq!((step.requests, step.throughput), (2, 1.0));
    assert_eq!((step.offered, step.lateness), (None, None));
    assert_eq!(step.goodput, 0.0);
}

#[test]
fn goodput_is_ok_within_the_deadline_and_sheds_do_not_flatter_latency() {
    let (mut recorder, begun) = recorder(OPEN);
    for (latency, code) in [
        (50, Code::Ok),
        (150, Code::Ok),
        (1, Code::ResourceExhausted),
        (100, Code::DeadlineExceeded),
    ] {
        recorder.record(answer(begun, 1500, latency, code)).unwrap();
    }
    let step = recorder.finish("open", None);
    assert_eq!(step.goodput_share, 0.25);
    assert_eq!((step.goodput, step.throughput), (0.5, 1.0));
    assert_eq!((step.shed(), step.answers("DEADLINE_EXCEEDED")), (1, 1));
    assert!((step.latency_ms.unwrap().mean - 100.0).abs() < 0.1);
}

#[test]
fn a_late_generator_voids_the_step_unless_the_gate_is_slower_still() {
    for (latency, void) in [(50, true), (200, false)] {
        let (mut recorder, begun) = recorder(OPEN);
        let mut late = answer(begun, 1500, latency, Code::Ok);
        late.sent += Duration::from_millis(15);
        recorder.record(late).unwrap();
        let step = recorder.finish("open", None);
        assert_eq!(step.void(), void, "{:?}", step.lateness);
        assert!((step.lateness.unwrap().p99_ms - 15.0).abs() < 0.1);
    }
}

#[test]
fn stages_are_the_servers_and_the_rest_is_elsewhere() {
    let (mut recorder, begun) = recorder(OPEN);
    let milliseconds = |count: i32| {
        Some(prost_types::Duration {
            seconds: 0,
            nanos: count * 1_000_000,
        })
    };
    for batch_size in [1, 3, 3] {
        let mut answer = answer(begun, 1500, 20, Code::Ok);
        answer.timing = Some(Timing {
            queue: milliseconds(2),
            decode: milliseconds(3),
            compute: milliseconds(5),
            batch_size,
        });
        recorder.record(answer).unwrap();
    }
    let step = recorder.finish("open", None);
    assert_eq!(step.batch_sizes, BTreeMap::from([(1, 1), (3, 2)]));
    assert!((step.mean_batch().unwrap() - 7.0 / 3.0).abs() < 1e-9);
    let stages = step.stages_ms.unwrap();
    for (stage, expected) in [
        (stages.queue, 2.0),
        (stages.decode, 3.0),
        (stages.compute, 5.0),
        (stages.elsewhere, 10.0),
    ] {
        assert!((stage.mean - expected).abs() < 0.01, "{stage:?}");
    }
}

#[test]
fn mismatches_count_in_the_warm_up_too() {
    let (mut recorder, begun) = recorder(OPEN);
    let mut wrong = answer(begun, 10, 1, Code::Ok);
    wrong.mismatch = Some("a.jpg scored 1 alone and 2 under load".to_owned());
    recorder.record(wrong).unwrap();
    let step = recorder.finish("open", None);
    assert_eq!((step.mismatches, step.requests), (1, 0));
    assert!(step.first_mismatch.unwrap().contains("a.jpg"));
}

#[test]
fn a_load_that_is_stopped_counts_the_time_it_had() {
    let (mut recorder, begun) = recorder(Load::Closed { concurrency: 1 });
    recorder.record(answer(begun, 1100, 100, Code::Ok)).unwrap();
    let step = recorder.finish("closed", Some(begun + Duration::from_millis(1500)));
    assert_eq!((step.seconds, step.throughput), (0.5, 2.0));
    let (recorder, begun) = self::recorder(OPEN);
    let step = recorder.finish("open", Some(begun));
    assert_eq!(
        (step.seconds, step.goodput, step.latency_ms),
        (0.0, 0.0, None)
    );
}

#[test]
fn codes_are_named_as_grpc_names_them() {
    let names = [Code::Ok, Code::ResourceExhausted, Code::DeadlineExceeded].map(code_name);
    assert_eq!(names, ["OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"]);
}
