//! Near-duplicates of accepted and of real images, whatever becomes of the calls that look for them.

use std::{future::poll_fn, task::Poll};

use image::{ImageFormat, RgbImage};
use label_store::{
    Clock, StoreError,
    admission::{Attempt, settle},
    candidate::Settlement::{self, Admitted, Duplicate},
    duplicates, funnel, images,
    runs::Run,
    split::Side,
};

use crate::common::{self, Fixture, attempt, encode, near_noise, noise, picture, plan, real_seed};

const COUNTS: &[(&str, u32)] = &[("neutral", 140), ("fear", 50), ("sad", 20)];

/// A run with `n` slots for fear and one for sad, at the first neutral image of train, each with one try.
async fn fixture(n: u32) -> Fixture {
    fixture_of(n, common::run("run", 0.6, Some(4))).await
}

async fn fixture_of(n: u32, run: Run) -> Fixture {
    let fixture = Fixture::with(COUNTS, run).await;
    let sources = fixture.train_ids(0).await[..1].to_vec();
    plan(&fixture.store, "fear", n, &sources, 1).await;
    plan(&fixture.store, "sad", 1, &sources, 1).await;
    fixture
}

fn of(slot: &str, image: Vec<u8>) -> Attempt {
    Attempt {
        image: Some(image.into()),
        ..attempt(slot, 0, 0)
    }
}

fn fear(n: u32, image: Vec<u8>) -> Attempt {
    of(&format!("run/fear/{n:05}"), image)
}

async fn settlement(fixture: &Fixture, attempt: Attempt) -> Settlement {
    settle(&fixture.store, attempt).await.unwrap()
}

/// Which neutral images are on one of these sides, by number.
async fn neutral(fixture: &Fixture, sides: &[Side]) -> Vec<u32> {
    let mut numbers = Vec::new();
    for &side in sides {
        for row in images::rows(&fixture.store, "faces", side).await.unwrap() {
            let name = row.path.strip_prefix("neutral/");
            numbers.extend(name.map(|name| name[..4].parse::<u32>().unwrap()));
        }
    }
    numbers
}

#[tokio::test]
async fn an_edit_may_resemble_its_source_and_no_other_real_image() {
    let fixture = fixture(4).await;
    let train = neutral(&fixture, &[Side::Train]).await;
    let known = neutral(&fixture, &[Side::Train, Side::Val, Side::Calibration]).await;
    let golden = (0..140).find(|n| !known.contains(n)).unwrap();
    let near = |n| near_noise(real_seed(0, n));
    for (slot, image, expected) in [
        (0, near(train[1]), Duplicate),
        (1, near(golden), Duplicate),
        (2, near(train[0]), Admitted),
        (3, near(train[0]), Duplicate),
    ] {
        assert_eq!(
            settlement(&fixture, fear(slot, image)).await,
            expected,
            "{slot}"
        );
    }
}

#[tokio::test]
async fn another_class_is_an_excuse_for_edits_of_one_source_alone() {
    let fixture = fixture(2).await;
    let others = fixture.train_ids(0).await[1..2].to_vec();
    plan(&fixture.store, "sad", 2, &others, 1).await;
    let sad = |n: u32, image| of(&format!("run/sad/{n:05}"), image);
    assert_eq!(settlement(&fixture, fear(0, noise(5))).await, Admitted);
    for (attempt, expected) in [
        (fear(1, near_noise(5)), Duplicate),
        (sad(1, near_noise(5)), Duplicate),
        (sad(0, near_noise(5)), Admitted),
    ] {
        let slot = attempt.slot_id.clone();
        assert_eq!(settlement(&fixture, attempt).await, expected, "{slot}");
    }
}

#[tokio::test]
async fn flat_images_are_like_nothing() {
    let fixture = fixture(3).await;
    let flat = |level| {
        let picture = RgbImage::from_pixel(16, 16, image::Rgb([level; 3]));
        encode(&picture, ImageFormat::Png)
    };
    for (n, level, expected) in [(0, 90, Admitted), (1, 91, Admitted), (2, 90, Duplicate)] {
        assert_eq!(
            settlement(&fixture, fear(n, flat(level))).await,
            expected,
            "{n}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_near_duplicates_that_settle_at_once_one_is_admitted() {
    let fixture = fixture(8).await;
    let twin = |n: u32| {
        let mut pixels = picture(7);
        pixels.put_pixel(0, 0, image::Rgb([n as u8; 3]));
        fear(n, encode(&pixels, ImageFormat::Png))
    };
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (store, attempt) = (fixture.store.clone(), twin(n));
            tokio::spawn(async move { settle(&store, attempt).await.unwrap() })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += usize::from(task.await.unwrap() == Admitted);
    }
    assert_eq!(admitted, 1);
}

#[tokio::test]
async fn a_start_knows_what_was_accepted_before() {
    let Fixture { folder, store, now } = fixture(2).await;
    assert_eq!(settle(&store, fear(0, noise(5))).await.unwrap(), Admitted);
    store.close().await;
    let store = common::open(folder.path(), Clock::Manual(now)).await;
    assert_eq!(
        settle(&store, fear(1, near_noise(5))).await.unwrap(),
        Duplicate
    );
}

#[tokio::test]
async fn embeddings_are_compared_where_the_run_says_from_which_cosine_on() {
    let run = Run {
        max_clip_cosine: Some(0.9),
        ..common::run("run", 0.6, None)
    };
    let Fixture { folder, store, now } = fixture_of(5, run).await;
    let embedded = |attempt: Attempt, embedding: &[f32]| Attempt {
        embedding: embedding.to_vec(),
        ..attempt
    };
    let first = embedded(fear(0, noise(0)), &[2.0, 0.0]);
    assert_eq!(settle(&store, first).await.unwrap(), Admitted);
    store.close().await;
    let store = common::open(folder.path(), Clock::Manual(now)).await;
    for (attempt, embedding, expected) in [
        (fear(1, noise(1)), &[1.0, 0.1][..], Duplicate),
        (of("run/sad/00000", noise(2)), &[1.0, 0.1], Admitted),
        (fear(2, noise(3)), &[0.1, 1.0], Admitted),
        (fear(3, noise(4)), &[], Admitted),
    ] {
        let slot = attempt.slot_id.clone();
        let settled = settle(&store, embedded(attempt, embedding)).await.unwrap();
        assert_eq!(settled, expected, "{slot}");
    }
    let error = settle(&store, embedded(fear(4, noise(5)), &[0.0; 2])).await;
    assert!(error.unwrap_err().to_string().starts_with("embedding: "));
}

#[tokio::test]
async fn a_candidate_like_a_real_image_that_is_not_its_source_is_a_duplicate() {
    let run = Run {
        max_clip_cosine: Some(0.9),
        ..common::run("run", 0.6, None)
    };
    let fixture = fixture_of(3, run).await;
    let embedded = |attempt: Attempt, embedding: &[f32]| Attempt {
        embedding: embedding.to_vec(),
        ..attempt
    };
    let real = fixture.train_ids(0).await;
    let told = |image: &str, embedding: &[f32]| (image.to_owned(), embedding.to_vec());
    let add = |all| duplicates::add_embeddings(&fixture.store, "run", all);
    add(vec![told(&real[0], &[1.0, 0.0, 0.0])]).await.unwrap();
    // The first image is the source.
    let like_source = embedded(fear(0, noise(0)), &[1.0, 0.0, 0.01]);
    assert_eq!(settlement(&fixture, like_source).await, Admitted);
    // Told after the first candidate, and once more with other contents, which change nothing.
    add(vec![told(&real[1], &[0.0, 1.0, 0.0])]).await.unwrap();
    add(vec![told(&real[1], &[0.0, 0.0, 1.0])]).await.unwrap();
    let like_other = embedded(fear(1, noise(1)), &[0.0, 1.0, 0.01]);
    assert_eq!(settlement(&fixture, like_other).await, Duplicate);
    let like_none = embedded(fear(2, noise(2)), &[0.0, 0.01, 1.0]);
    assert_eq!(settlement(&fixture, like_none).await, Admitted);

    // An id follows from data set and path, as who guesses it might know.
    let known = neutral(&fixture, &[Side::Train, Side::Val, Side::Calibration]).await;
    let number = (0..140).find(|n| !known.contains(n)).unwrap();
    let id = blake3::hash(format!("faces\nneutral/{number:04}.png").as_bytes()).to_hex();
    let golden = &id[..32];
    assert!(images::image(&fixture.store, golden).await.is_err());
    for (bad, field) in [
        (told(golden, &[1.0]), "embeddings[1].image_id"),
        (told("nobody", &[1.0]), "embeddings[1].image_id"),
        (told(&real[2], &[]), "embeddings[1].embedding"),
        (told(&real[2], &[f32::NAN]), "embeddings[1].embedding"),
    ] {
        let error = add(vec![told(&real[2], &[1.0, 0.0, 0.0]), bad])
            .await
            .unwrap_err();
        assert!(
            matches!(&error, StoreError::Invalid { field: f, .. } if f == field),
            "{error}"
        );
    }
    let many = vec![told(&real[2], &[1.0]); 1_001];
    assert!(add(many).await.is_err());
}

/// Of each pair of near-duplicates the first caller leaves after some steps, wherever that is: before its transaction, within it, or
/// while it commits. Then the second is admitted exactly where the first was not.
#[tokio::test]
async fn callers_who_leave_leave_the_index_as_the_database() {
    const PAIRS: u32 = 30;
    let fixture = fixture(2 * PAIRS).await;
    let mut outcomes = [0, 0];
    for n in 0..PAIRS {
        let seed = u64::from(n);
        let mut left = n;
        let mut first = Box::pin(settle(&fixture.store, fear(2 * n, noise(seed))));
        poll_fn(|context| match first.as_mut().poll(context) {
            Poll::Pending if left > 0 => {
                left -= 1;
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
        .await;
        drop(first);
        let second = settlement(&fixture, fear(2 * n + 1, near_noise(seed))).await;
        let funnel = funnel::funnel(&fixture.store, "run").await.unwrap();
        assert_eq!(funnel.accepted, u64::from(n) + 1, "pair {n}: {second:?}");
        outcomes[usize::from(second == Admitted)] += 1;
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}
