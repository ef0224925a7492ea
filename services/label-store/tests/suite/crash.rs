//! kill -9 in the middle of settlements: nothing lost, nothing doubled, no blob without a row after the next start.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use label_store::{
    Audit, Clock, Store, admission::settle, blobs::WriteStep, dataset, funnel, slots,
};

use crate::common::{self, Fixture, START, attempt, plan, rejected};

const FOLDER: &str = "SAGA_CRASH_FOLDER";
/// The child aborts when it has placed this many blobs, before their rows commit.
const ABORT_AT: &str = "SAGA_CRASH_ABORT_AT";
const COUNTS: &[(&str, u32)] = &[("neutral", 60), ("fear", 20)];
const SLOTS: u32 = 24;

/// Deterministic: a third of the attempts pass, every fifth of those repeats another one's bytes.
fn outcome(slot: &slots::Slot) -> label_store::admission::Attempt {
    let n = u64::from(slot.ordinal * 2 + slot.attempt);
    let seed = if n % 5 == 0 { 0 } else { n };
    if n % 3 == 0 {
        attempt(&slot.id, slot.attempt, seed)
    } else {
        rejected(&slot.id, slot.attempt, seed)
    }
}

/// Leases and settles until the plan is done, each settlement twice.
async fn work(store: &Store, mut settled: impl FnMut()) {
    slots::release(store, "run", "worker").await.unwrap();
    loop {
        let (leased, open) = slots::lease(store, "run", "worker", 1, 60_000, &[])
            .await
            .unwrap();
        if open == 0 {
            return;
        }
        for slot in leased {
            let first = settle(store, outcome(&slot)).await.unwrap();
            settled();
            assert_eq!(settle(store, outcome(&slot)).await.unwrap(), first);
        }
    }
}

async fn open(folder: &Path) -> Store {
    common::open(folder, Clock::Manual(Arc::new(AtomicI64::new(START)))).await
}

/// Not a test of its own: what the other test starts and kills.
#[tokio::test]
#[ignore = "runs as a child process of the crash test"]
async fn child() {
    let folder = PathBuf::from(std::env::var(FOLDER).expect("started by the crash test"));
    let mut store = open(&folder).await;
    if let Ok(n) = std::env::var(ABORT_AT) {
        let left = AtomicI64::new(n.parse().unwrap());
        store = store.with_write_check(Arc::new(move |step| {
            if step == WriteStep::Placed && left.fetch_sub(1, Ordering::SeqCst) == 1 {
                std::process::abort();
            }
            Ok(())
        }));
    }
    work(&store, || println!("settled")).await;
    println!("finished");
}

fn start(folder: &Path, abort_at: Option<u32>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["crash::child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder);
    if let Some(n) = abort_at {
        command.env(ABORT_AT, n.to_string());
    }
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads the child's lines until `settlements` are done, then kills it; whether it finished before.
fn kill_after(mut child: Child, settlements: usize) -> bool {
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut done = 0;
    let mut finished = false;
    for line in lines {
        finished |= line == "finished";
        done += usize::from(line == "settled");
        if done >= settlements {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    finished
}

/// A run over the same data whose plan is the same.
async fn prepared() -> Fixture {
    let fixture = Fixture::with_run(COUNTS, 0.6, None).await;
    let sources = fixture.train_ids(0).await;
    plan(&fixture.store, "fear", SLOTS, &sources[..2], 1).await;
    fixture
}

#[tokio::test]
async fn a_run_killed_again_and_again_ends_as_an_undisturbed_one() {
    let undisturbed = prepared().await;
    work(&undisturbed.store, || ()).await;
    let expected = funnel::funnel(&undisturbed.store, "run").await.unwrap();
    assert!(
        expected.accepted >= 5 && expected.accepted < 16,
        "{expected:?}"
    );
    assert!(
        ["ssim", "duplicate"]
            .iter()
            .all(|by| expected.rejected_by.contains_key(*by)),
        "{expected:?}"
    );

    let Fixture { folder, store, .. } = prepared().await;
    store.close().await;
    let mut orphans = 0;
    for round in 0.. {
        assert!(round < 100, "the run does not come to an end");
        // Alternately: abort between blob and row, kill at whatever the child does after some settlements.
        let abort_at = (round % 2 == 0).then_some(1 + round / 2 % 3);
        if kill_after(
            start(folder.path(), abort_at),
            [1, 3, 2, 5][round as usize % 4],
        ) {
            break;
        }
        orphans += blobs_without_rows(folder.path()).await;
        let audit = open(folder.path()).await.audit().await.unwrap();
        assert_eq!(audit, Audit::default(), "after round {round}");
    }
    assert!(
        orphans > 0,
        "no kill hit between blob and row, so the sweep was not tested"
    );
    let store = open(folder.path()).await;
    assert_eq!(funnel::funnel(&store, "run").await.unwrap(), expected);
    let dataset = dataset::get(&store, "faces").await.unwrap();
    assert_eq!(
        dataset::counts(&store, &dataset)
            .await
            .unwrap()
            .iter()
            .map(|c| c.total)
            .sum::<u32>(),
        80
    );
}

/// Blobs in the folder beyond those that rows refer to, before a start sweeps them.
async fn blobs_without_rows(folder: &Path) -> usize {
    let blobs = label_store::blobs::Blobs::open(&folder.join("store/blobs"))
        .unwrap()
        .list()
        .unwrap()
        .len();
    let store = open(folder).await;
    let rows = label_store::blobs::Blobs::open(&folder.join("store/blobs"))
        .unwrap()
        .list()
        .unwrap()
        .len();
    store.close().await;
    blobs - rows
}
