//! Milliseconds to sign and to verify image files, and the bytes that a manifest adds:
//! `cargo run --release -p saga-provenance --example signing -- FILE...`

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use saga_provenance::{Identity, Snapshot, sign, verify};

fn main() {
    let files: Vec<Vec<u8>> = std::env::args()
        .skip(1)
        .map(|path| std::fs::read(path).expect("an image file"))
        .collect();
    assert!(!files.is_empty(), "name image files");
    let keys = tempfile::tempdir().unwrap();
    let identity = Identity::kept_in(keys.path()).unwrap();
    let snapshot = Snapshot {
        backend: "studio".into(),
        prompt: "a photo of a face".into(),
        source_blake3: "5e".repeat(32),
        ..Snapshot::default()
    };
    let (mut signing, mut verifying, mut added) = (Vec::new(), Vec::new(), 0);
    for file in &files {
        let (signed, time) = timed(|| sign(&identity, file, &snapshot).unwrap());
        signing.push(time);
        let (report, time) = timed(|| verify(&signed, None).unwrap());
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        verifying.push(time);
        added += signed.len() - file.len();
    }
    println!(
        "{} files: signed in {:.2} ms, verified in {:.2} ms (medians), {} bytes added on average",
        files.len(),
        median(signing),
        median(verifying),
        added / files.len(),
    );
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    (work(), started.elapsed())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    1e3 * times[times.len() / 2].as_secs_f64()
}
