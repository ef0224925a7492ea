//! Admission: every settlement, idempotence, a full disk.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use label_store::{
    Audit, Config, Store, StoreError,
    admission::{Attempt, keep, settle},
    candidate::Settlement,
    candidates::{self, Which},
    funnel, slots,
};
use prost::bytes::Bytes;

use crate::common::{Fixture, attempt, near_noise, noise, plan, real_seed, rejected};

const COUNTS: &[(&str, u32)] = &[("neutral", 40), ("fear", 10)];

/// A run with `n` slots for fear at the first neutral images, two tries at each of two sources.
async fn fixture(n: u32) -> Fixture {
    let fixture = Fixture::with_run(COUNTS, 0.6, Some(4)).await;
    let sources = fixture.train_ids(0).await[..2].to_vec();
    assert_eq!(plan(&fixture.store, "fear", n, &sources, 2).await, n);
    fixture
}

fn slot(n: u32) -> String {
    format!("run/fear/{n:05}")
}

async fn settle_all(store: &Store, attempts: Vec<Attempt>) -> Vec<Settlement> {
    let mut settlements = Vec::new();
    for attempt in attempts {
        settlements.push(settle(store, attempt).await.unwrap());
    }
    settlements
}

#[tokio::test]
async fn rejections_refund_until_the_tries_are_used_up() {
    let fixture = fixture(1).await;
    let sources = fixture.train_ids(0).await;
    for (number, expected) in (0..).zip([
        Settlement::Refunded,
        Settlement::Refunded,
        Settlement::Refunded,
        Settlement::Exhausted,
    ]) {
        let (leased, open) = slots::lease(&fixture.store, "run", "me", 5, 60_000, &[])
            .await
            .unwrap();
        assert_eq!((leased.len(), open, leased[0].attempt), (1, 1, number));
        let next = &leased[0].sources[0];
        assert_eq!(next.image_id, sources[number as usize / 2]);
        assert_eq!(
            (next.label.as_str(), leased[0].target_label.as_str()),
            ("neutral", "fear")
        );
        assert_eq!(
            settle(
                &fixture.store,
                rejected(&slot(0), number, u64::from(number))
            )
            .await
            .unwrap(),
            expected
        );
    }
    let (leased, open) = slots::lease(&fixture.store, "run", "me", 5, 60_000, &[])
        .await
        .unwrap();
    assert_eq!((leased.len(), open), (0, 0));
}

#[tokio::test]
async fn the_same_candidate_again_gets_the_first_answer() {
    let fixture = fixture(2).await;
    let (no, yes) = (rejected(&slot(0), 0, 1), attempt(&slot(1), 0, 2));
    let first = settle_all(&fixture.store, vec![no.clone(), yes.clone()]).await;
    let again = settle_all(&fixture.store, vec![no, yes]).await;
    assert_eq!(first, [Settlement::Refunded, Settlement::Admitted]);
    assert_eq!(first, again);
    let funnel = funnel::funnel(&fixture.store, "run").await.unwrap();
    assert_eq!((funnel.generated, funnel.accepted), (2, 1));
}

#[tokio::test]
async fn another_attempt_and_a_closed_slot_are_refused() {
    let fixture = fixture(1).await;
    let early = settle(&fixture.store, attempt(&slot(0), 1, 1))
        .await
        .unwrap_err();
    assert!(
        matches!(
            early,
            StoreError::Precondition {
                reason: "STALE_ATTEMPT",
                ..
            }
        ),
        "{early}"
    );
    settle(&fixture.store, attempt(&slot(0), 0, 1))
        .await
        .unwrap();
    let late = settle(&fixture.store, attempt(&slot(0), 0, 2))
        .await
        .unwrap_err();
    assert!(
        matches!(
            late,
            StoreError::Precondition {
                reason: "SLOT_CLOSED",
                ..
            }
        ),
        "{late}"
    );
    assert_eq!(
        fixture.store.audit().await.unwrap(),
        Audit::default(),
        "a refused image leaves no blob"
    );
}

#[tokio::test]
async fn duplicates_are_refunded() {
    let fixture = fixture(4).await;
    assert_eq!(
        settle(&fixture.store, attempt(&slot(0), 0, 7))
            .await
            .unwrap(),
        Settlement::Admitted
    );
    let near = Bytes::from(near_noise(7));
    let real = Bytes::from(noise(real_seed(0, 0)));
    let again = attempt(&slot(1), 0, 7);
    let settlements = settle_all(
        &fixture.store,
        vec![
            again,
            Attempt {
                image: Some(near),
                ..attempt(&slot(2), 0, 8)
            },
            Attempt {
                image: Some(real),
                ..attempt(&slot(3), 0, 9)
            },
        ],
    )
    .await;
    assert_eq!(settlements, [Settlement::Duplicate; 3]);
    let funnel = funnel::funnel(&fixture.store, "run").await.unwrap();
    assert_eq!(funnel.rejected_by["duplicate"], 3);
    assert_eq!((funnel.targets[0].open, funnel.targets[0].accepted), (3, 1));
    assert_eq!(
        (
            funnel.faults[0].generated,
            funnel.faults[0].passed_gates,
            funnel.faults[0].admitted
        ),
        (4, 4, 1)
    );
}

#[tokio::test]
async fn the_class_stops_at_its_cap() {
    let fixture = fixture(20).await;
    // Five of the ten images of fear are in train: seven synthetic ones make 58 %, eight would make 62 %.
    assert_eq!(fixture.train_ids(1).await.len(), 5);
    let mut settlements = Vec::new();
    for n in 0..20 {
        settlements.push(
            settle(&fixture.store, attempt(&slot(n), 0, 100 + u64::from(n)))
                .await
                .unwrap(),
        );
    }
    let cap = 7;
    assert!(
        settlements[..cap]
            .iter()
            .all(|s| *s == Settlement::Admitted)
    );
    assert!(
        settlements[cap..]
            .iter()
            .all(|s| *s == Settlement::CapReached)
    );
    let funnel = funnel::funnel(&fixture.store, "run").await.unwrap();
    assert_eq!(
        (
            funnel.targets[0].real,
            funnel.targets[0].accepted,
            funnel.targets[0].open
        ),
        (5, 7, 0)
    );
    assert_eq!(funnel.rejected_by["cap"], 13);
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_the_next_try_succeeds() {
    let fixture = fixture(1).await;
    let full = fixture
        .store
        .clone()
        .with_write_check(Arc::new(|_| Err(io::ErrorKind::StorageFull.into())));
    let error = settle(&full, attempt(&slot(0), 0, 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    let status = label_store::error::to_status(&error, fixture.folder.path());
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(
        status
            .message()
            .contains(&fixture.folder.path().display().to_string())
    );
    assert_eq!(fixture.store.audit().await.unwrap(), Audit::default());
    assert_eq!(
        settle(&fixture.store, attempt(&slot(0), 0, 1))
            .await
            .unwrap(),
        Settlement::Admitted
    );
}

#[tokio::test]
async fn an_image_that_is_stored_ahead_is_not_written_again() {
    let fixture = fixture(1).await;
    let writes = Arc::new(AtomicU32::new(0));
    let counted = writes.clone();
    let store = fixture.store.clone().with_write_check(Arc::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }));
    let Attempt { image, .. } = attempt(&slot(0), 0, 1);
    let image = image.unwrap();
    let blake3 = keep(&store, image.clone(), String::new()).await.unwrap();
    assert_eq!(blake3, blake3::hash(&image).to_hex().as_str());
    let ahead = writes.load(Ordering::SeqCst);
    assert!(ahead > 0);
    let settlement = settle(&store, attempt(&slot(0), 0, 1)).await.unwrap();
    assert_eq!(settlement, Settlement::Admitted);
    assert_eq!(writes.load(Ordering::SeqCst), ahead);

    let refused = keep(&store, image, "00".into()).await.unwrap_err();
    assert!(refused.to_string().contains("image.blake3"), "{refused}");
    let large = vec![0; Config::default().images.decode_limits().max_bytes + 1];
    let refused = keep(&store, large.into(), String::new()).await.unwrap_err();
    assert!(
        refused.to_string().contains("images.max_bytes"),
        "{refused}"
    );
}

#[tokio::test]
async fn rejected_candidates_are_kept_with_images_and_errors() {
    let fixture = fixture(3).await;
    let undecodable = Attempt {
        image: Some("not a picture".into()),
        ..rejected(&slot(1), 0, 2)
    };
    let failed = Attempt {
        image: None,
        rejected_by: "error".into(),
        error: "timed out".into(),
        ..rejected(&slot(2), 0, 3)
    };
    settle_all(
        &fixture.store,
        vec![rejected(&slot(0), 0, 1), undecodable, failed],
    )
    .await;
    let all = candidates::page(&fixture.store, "run", Which::All, -1)
        .await
        .unwrap();
    assert_eq!(
        all.iter().map(|c| c.blake3.is_some()).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert_eq!(all[0].verdicts[0].gate, "ssim");
    assert_eq!(fixture.store.audit().await.unwrap(), Audit::default());
    let funnel = funnel::funnel(&fixture.store, "run").await.unwrap();
    assert_eq!(
        (
            funnel.generated,
            funnel.rejected_by["ssim"],
            funnel.errors["timed out"]
        ),
        (2, 2, 1)
    );
}

#[tokio::test]
async fn wrong_requests_name_their_field() {
    let fixture = fixture(1).await;
    for (attempt, field) in [
        (
            Attempt {
                image: None,
                ..attempt(&slot(0), 0, 1)
            },
            "candidate.image",
        ),
        (
            Attempt {
                image: Some("text".into()),
                ..attempt(&slot(0), 0, 1)
            },
            "candidate.image.data",
        ),
        (
            Attempt {
                image_blake3: "00".into(),
                ..attempt(&slot(0), 0, 1)
            },
            "candidate.image.blake3",
        ),
        (
            Attempt {
                rejected_by: "ssim".into(),
                ..attempt(&slot(0), 0, 1)
            },
            "rejected_by",
        ),
        (
            Attempt {
                candidate_id: "../x".into(),
                ..attempt(&slot(0), 0, 1)
            },
            "candidate_id",
        ),
    ] {
        let error = settle(&fixture.store, attempt).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Invalid { field: f, .. } if f == field),
            "{error}"
        );
    }
}
