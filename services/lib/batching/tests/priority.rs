//! Low items wait behind normal ones, take half of the queue, and are not forgotten.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Gated;
use futures::future::join_all;
use saga_batching::{LOW_EVERY, Priority, SubmitError};

#[tokio::test]
async fn low_items_are_taken_last_but_one_of_eight() {
    let gated = Gated::new(16, 64).await;
    let first = gated.occupy().await;
    let low: Vec<u32> = (101..=104).collect();
    let normal: Vec<u32> = (20..36).collect();
    let mut answers = gated.submit_all_as(&low, Priority::Low).await;
    answers.extend(gated.submit_all(&normal).await);
    for _ in 0..3 {
        gated.release.send(()).unwrap();
    }
    first.await.unwrap().unwrap();
    for answer in join_all(answers).await {
        answer.unwrap().unwrap();
    }
    let batches = [gated.batches.recv().unwrap(), gated.batches.recv().unwrap()];
    let taken = batches.concat();
    let positions = low
        .iter()
        .map(|item| taken.iter().position(|taken| taken == item).unwrap());
    assert_eq!(
        positions.collect::<Vec<_>>(),
        [LOW_EVERY - 1, 2 * LOW_EVERY - 1, 18, 19]
    );
}

#[tokio::test]
async fn a_flood_of_low_items_sheds_no_normal_one() {
    let gated = Gated::new(8, 4).await;
    let first = gated.occupy().await;
    // Two enter, and the third finds the share of low items full, whether it is shed or waits.
    let mut answers = gated.submit_all_as(&[1, 2], Priority::Low).await;
    assert_eq!(
        gated.batcher.try_submit(3, Priority::Low, None).await,
        Err(SubmitError::Full { capacity: 2 })
    );
    let waiting: Vec<_> = (3..6)
        .map(|item| gated.submit_as(item, Priority::Low))
        .collect();
    tokio::task::yield_now().await;
    for input in [20, 21] {
        let batcher = gated.batcher.clone();
        answers.push(tokio::spawn(async move {
            batcher.try_submit(input, Priority::Normal, None).await
        }));
    }
    gated.until(|batcher| batcher.stats().queued == 4).await;
    assert_eq!(
        gated.batcher.try_submit(22, Priority::Normal, None).await,
        Err(SubmitError::Full { capacity: 4 })
    );
    assert!(waiting.iter().all(|answer| !answer.is_finished()));
    assert_eq!(gated.batcher.metrics().full.get(), 2);
    // Enough for any split of what waits into batches.
    for _ in 0..10 {
        gated.release.send(()).unwrap();
    }
    first.await.unwrap().unwrap();
    for answer in join_all(answers.into_iter().chain(waiting)).await {
        answer.unwrap().unwrap();
    }
    assert_eq!(gated.batches.recv().unwrap(), [20, 21, 1, 2]);
}
