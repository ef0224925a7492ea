//! The batcher's promises, with workers that the test opens and closes: no clock decides anything here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use common::{Answer, Doubler, Gated, double, work};
use futures::future::join_all;
use proptest::prelude::*;
use saga_batching::{BatchConfig, Batcher, Priority, SpawnError, SubmitError};

fn unhealthy(reason: &str) -> Answer {
    Err(SubmitError::Unhealthy {
        reason: reason.to_owned(),
    })
}

#[tokio::test]
async fn batches_form_while_the_worker_is_busy_up_to_the_maximum() {
    let gated = Gated::new(2, 8).await;
    let first = gated.occupy().await;
    let waiting = gated.submit_all(&[1, 2, 3]).await;
    for _ in 0..3 {
        gated.release.send(()).unwrap();
    }
    assert_eq!(first.await.unwrap().unwrap().batch_size, 1);
    let answers: Vec<_> = join_all(waiting)
        .await
        .into_iter()
        .map(|answer| answer.unwrap().unwrap())
        .collect();
    assert_eq!(
        [gated.batches.recv().unwrap(), gated.batches.recv().unwrap()],
        [vec![1, 2], vec![3]]
    );
    assert_eq!(
        answers
            .iter()
            .map(|a| (a.output, a.batch_size))
            .collect::<Vec<_>>(),
        [(2, 2), (4, 2), (6, 1)]
    );
    let stats = gated.batcher.stats();
    assert_eq!((stats.batches, stats.computed, stats.queued), (3, 4, 0));
}

#[tokio::test]
async fn a_full_queue_sheds_and_makes_streams_wait() {
    let gated = Gated::new(8, 2).await;
    let first = gated.occupy().await;
    let waiting = gated.submit_all(&[1, 2]).await;
    assert_eq!(
        gated.batcher.try_submit(3, Priority::Normal, None).await,
        Err(SubmitError::Full { capacity: 2 })
    );
    let patient = gated.submit(4);
    tokio::task::yield_now().await;
    assert!(!patient.is_finished());
    for _ in 0..3 {
        gated.release.send(()).unwrap();
    }
    assert_eq!(patient.await.unwrap().unwrap().output, 8);
    assert!(
        first.await.unwrap().is_ok() && join_all(waiting).await.iter().all(|answer| answer.is_ok())
    );
    assert_eq!(gated.batcher.stats().shed, 1);
}

#[tokio::test]
async fn late_and_abandoned_items_are_never_computed() {
    let gated = Gated::new(8, 8).await;
    let first = gated.occupy().await;
    let late = {
        let batcher = gated.batcher.clone();
        tokio::spawn(async move {
            batcher
                .submit(1, Priority::Normal, Some(Instant::now()))
                .await
        })
    };
    gated.until(|batcher| batcher.stats().queued == 1).await;
    let abandoned = gated.submit_all(&[2]).await.remove(0);
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    let kept = gated.submit_all(&[3]).await.remove(0);
    gated.release.send(()).unwrap();
    gated.release.send(()).unwrap();
    assert_eq!(late.await.unwrap(), Err(SubmitError::DeadlineExceeded));
    assert_eq!(kept.await.unwrap().unwrap().batch_size, 1);
    assert!(first.await.unwrap().is_ok());
    assert_eq!(gated.batches.recv().unwrap(), [3]);
    let stats = gated.batcher.stats();
    assert_eq!((stats.expired, stats.abandoned, stats.computed), (1, 1, 2));
    let metrics = gated.batcher.metrics();
    assert_eq!(
        (
            metrics.queue_seconds.count(),
            metrics.compute_seconds.count()
        ),
        (2, 2)
    );
    assert_eq!(metrics.queue_length.get(), 0);
}

#[tokio::test]
async fn who_has_left_takes_nobodys_room() {
    let gated = Gated::new(8, 3).await;
    let first = gated.occupy().await;
    let mut waiting = gated.submit_all(&[1, 2, 3]).await;
    let refused = gated.batcher.try_submit(9, Priority::Normal, None).await;
    assert_eq!(refused, Err(SubmitError::Full { capacity: 3 }));
    let left = waiting.remove(1);
    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());
    let late = {
        let batcher = gated.batcher.clone();
        tokio::spawn(async move { batcher.try_submit(4, Priority::Normal, None).await })
    };
    gated.until(|batcher| batcher.stats().abandoned == 1).await;
    gated.release.send(()).unwrap();
    gated.release.send(()).unwrap();
    assert_eq!(late.await.unwrap().unwrap().output, 8);
    assert!(join_all(waiting).await.iter().all(|answer| answer.is_ok()));
    assert!(first.await.unwrap().is_ok());
    assert_eq!(gated.batches.recv().unwrap(), [1, 3, 4]);
    assert_eq!(gated.batcher.metrics().queue_length.get(), 0);
}

#[tokio::test]
async fn what_would_be_late_when_its_batch_is_done_is_not_computed() {
    const BATCH: Duration = Duration::from_millis(40);
    let gated = Gated::new(8, 8).await;
    let first = gated.occupy().await;
    let started = Instant::now();
    let submit = |input, deadline| {
        let batcher = gated.batcher.clone();
        tokio::spawn(async move {
            batcher
                .submit(input, Priority::Normal, Some(deadline))
                .await
        })
    };
    let patient = submit(1, Instant::now() + 1_000 * BATCH);
    gated.until(|batcher| batcher.stats().queued == 1).await;
    while started.elapsed() < BATCH {
        std::hint::spin_loop();
    }
    // Not yet late, but so after another batch of this length.
    let hopeless = submit(2, Instant::now() + BATCH / 2);
    gated.until(|batcher| batcher.stats().queued == 2).await;
    gated.release.send(()).unwrap();
    gated.release.send(()).unwrap();
    assert_eq!(hopeless.await.unwrap(), Err(SubmitError::DeadlineExceeded));
    assert_eq!(patient.await.unwrap().unwrap().batch_size, 1);
    assert!(first.await.unwrap().is_ok());
    assert_eq!(gated.batches.recv().unwrap(), [1]);
}

#[tokio::test]
async fn nobody_is_admitted_whom_the_queue_would_refuse_or_answer_late() {
    const BATCH: Duration = Duration::from_millis(40);
    let gated = Gated::new(1, 2).await;
    let first = gated.occupy().await;
    let started = Instant::now();
    while started.elapsed() < BATCH {
        std::hint::spin_loop();
    }
    gated.release.send(()).unwrap();
    assert!(first.await.unwrap().is_ok());
    let admit = |within: Duration, waits| {
        let deadline = Some(Instant::now() + within);
        gated.batcher.admit(Priority::Normal, deadline, waits)
    };
    // Nothing is ahead: one is always tried.
    assert_eq!(admit(BATCH / 2, false), Ok(()));
    let second = gated.occupy().await;
    let mut waiting = gated.submit_all(&[1]).await;
    assert_eq!(admit(BATCH, false), Err(SubmitError::DeadlineExceeded));
    assert_eq!(admit(1_000 * BATCH, false), Ok(()));
    waiting.extend(gated.submit_all(&[2]).await);
    let full = Err(SubmitError::Full { capacity: 2 });
    assert_eq!(admit(1_000 * BATCH, false), full);
    assert_eq!(admit(1_000 * BATCH, true), Ok(()));
    for _ in 0..3 {
        gated.release.send(()).unwrap();
    }
    assert!(second.await.unwrap().is_ok());
    assert!(join_all(waiting).await.iter().all(|answer| answer.is_ok()));
    let stats = gated.batcher.stats();
    assert_eq!((stats.expired, stats.shed, stats.computed), (1, 1, 4));
}

#[tokio::test]
async fn one_items_error_is_its_own() {
    let gated = Gated::new(8, 8).await;
    let first = gated.occupy().await;
    let answers = gated.submit_all(&[6, 7, 8]).await;
    gated.release.send(()).unwrap();
    gated.release.send(()).unwrap();
    let outputs: Vec<_> = join_all(answers)
        .await
        .into_iter()
        .map(|a| a.unwrap().map(|b| b.output))
        .collect();
    assert_eq!(
        outputs,
        [Ok(12), Err(SubmitError::Item("seven".to_owned())), Ok(16)]
    );
    assert!(first.await.unwrap().is_ok() && gated.batcher.is_healthy());
    assert_eq!(gated.batcher.stats().failed, 1);
}

#[tokio::test]
async fn a_panic_answers_everyone_and_turns_health_off() {
    let gated = Gated::new(1, 2).await;
    let first = gated.submit(13);
    gated.until(|batcher| batcher.stats().computing == 1).await;
    let waiting = gated.submit_all(&[1, 2]).await;
    let without_room = gated.submit(3);
    tokio::task::yield_now().await;
    gated.release.send(()).unwrap();
    let reason = "it panicked: thirteen";
    assert_eq!(first.await.unwrap(), unhealthy(reason));
    for answer in join_all(waiting).await {
        assert_eq!(answer.unwrap(), unhealthy(reason));
    }
    assert_eq!(without_room.await.unwrap(), unhealthy(reason));
    assert!(!gated.batcher.is_healthy());
    assert_eq!(
        gated.batcher.submit(4, Priority::Normal, None).await,
        unhealthy(reason)
    );
    assert_eq!(
        gated.batcher.try_submit(4, Priority::Normal, None).await,
        unhealthy(reason)
    );
}

#[tokio::test]
async fn a_worker_that_miscounts_is_out_of_service() {
    let config = BatchConfig {
        max_batch: 4,
        queue_capacity: 4,
    };
    let forgetful: Doubler = Batcher::spawn(work("forgetful"), config, || {
        Ok::<_, String>(|_: Vec<u32>| Vec::new())
    })
    .await
    .unwrap();
    assert_eq!(
        forgetful.submit(1, Priority::Normal, None).await,
        unhealthy("it answered 0 of 1 items")
    );
}

#[tokio::test]
async fn a_worker_that_cannot_be_made_is_reported() {
    type Work = fn(Vec<u32>) -> Vec<Result<u32, String>>;
    let config = BatchConfig {
        max_batch: 1,
        queue_capacity: 1,
    };
    let failed = Doubler::spawn(work("loader"), config, || Err::<Work, _>("no weights"))
        .await
        .unwrap_err();
    assert!(
        matches!(failed, SpawnError::Make("no weights")),
        "{failed:?}"
    );
    let panicked =
        Doubler::spawn::<_, Work, String>(work("loader"), config, || panic!("bad weights"))
            .await
            .unwrap_err();
    assert_eq!(
        panicked.to_string(),
        "loader panicked while it was made: bad weights"
    );
}

#[tokio::test]
async fn a_pool_computes_at_the_same_time() {
    let together = Arc::new(Barrier::new(2));
    let config = BatchConfig {
        max_batch: 1,
        queue_capacity: 4,
    };
    let pool: Doubler = Batcher::spawn_pool(work("pool"), 2, config, move || {
        Ok::<_, String>(move |batch: Vec<u32>| {
            together.wait();
            batch.into_iter().map(double).collect::<Vec<_>>()
        })
    })
    .await
    .unwrap();
    let (a, b) = tokio::join!(
        pool.submit(1, Priority::Normal, None),
        pool.submit(2, Priority::Normal, None)
    );
    assert_eq!((a.unwrap().output, b.unwrap().output), (2, 4));
}

#[tokio::test]
async fn workers_end_with_the_last_handle() {
    let Gated {
        batcher,
        batches,
        release: _release,
    } = Gated::new(1, 1).await;
    let clone = batcher.clone();
    drop(batcher);
    assert!(clone.is_healthy());
    drop(clone);
    // The worker owned the other end.
    assert!(batches.recv().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_item_is_answered_once_and_computed_at_most_once(
        inputs in prop::collection::vec(0..40_u32, 1..80),
        max_batch in 1..9_usize,
        queue_capacity in 1..9_usize,
        workers in 1..4_usize,
    ) {
        let seen = Arc::new(Mutex::new(HashMap::<usize, usize>::new()));
        let record = Arc::clone(&seen);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answers = runtime.block_on(async {
            let config = BatchConfig { max_batch, queue_capacity };
            let pool: Batcher<(usize, u32), u32, String> = Batcher::spawn_pool(work("pool"), workers, config, move || {
                Ok::<_, String>(move |batch: Vec<(usize, u32)>| {
                    let mut seen = record.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    batch.iter().for_each(|(id, _)| *seen.entry(*id).or_default() += 1);
                    drop(seen);
                    batch.into_iter().map(|(_, input)| double(input)).collect::<Vec<_>>()
                })
            })
            .await
            .unwrap();
            join_all(inputs.iter().enumerate().map(|item| {
                let pool = pool.clone();
                let item = (item.0, *item.1);
                async move { if item.0 % 3 == 0 { pool.try_submit(item, Priority::Normal, None).await } else { pool.submit(item, Priority::Normal, None).await } }
            }))
            .await
        });
        prop_assert_eq!(answers.len(), inputs.len());
        let seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        prop_assert!(seen.values().all(|&times| times == 1));
        for (id, (answer, &input)) in answers.iter().zip(&inputs).enumerate() {
            match answer {
                Ok(batched) => prop_assert_eq!(batched.output, input * 2),
                Err(SubmitError::Item(error)) => prop_assert!(input == 7 && error == "seven"),
                Err(SubmitError::Full { .. }) => prop_assert!(id % 3 == 0 && !seen.contains_key(&id)),
                Err(SubmitError::Unhealthy { .. }) => prop_assert!(inputs.contains(&13)),
                Err(SubmitError::DeadlineExceeded) => prop_assert!(false, "no item had a deadline"),
            }
        }
    }
}
