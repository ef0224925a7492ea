//! A store in a temporary folder, and data sets of random noise.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use image::{ImageFormat, RgbImage};
use label_store::{
    Clock, Config, Store, StoreError,
    admission::Attempt,
    candidate::Verdict,
    dataset::{self, ClassCounts},
    import::{self, ImportReport, ImportRequest},
    runs::{self, Run},
    slots::{self, SlotPlan},
    split::Policy,
};
use prost::bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(crate) const START: i64 = 1_700_000_000_000;

/// Half golden, the rest in train.
pub(crate) const POLICY: Policy = Policy {
    golden_per_class: 4,
    golden_fraction: 0.3,
    val_fraction: 0.2,
    calibration_fraction: 0.1,
    seed: 11,
};

/// A store, the folder it lives in, and its clock.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) store: Store,
    pub(crate) now: Arc<AtomicI64>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(START));
        let store = open(folder.path(), Clock::Manual(now.clone())).await;
        Self { folder, store, now }
    }

    /// With data set "faces", split, and run "run" over it.
    pub(crate) async fn with_run(
        counts: &[(&str, u32)],
        fraction: f64,
        distance: Option<i64>,
    ) -> Self {
        let fixture = Self::new().await;
        let root = fixture.folder.path().join("faces");
        affectnet(&root, counts);
        import(&fixture.store, &root, &classes(counts))
            .await
            .unwrap();
        dataset::divide(&fixture.store, "faces", POLICY)
            .await
            .unwrap();
        runs::create(&fixture.store, &run("run", fraction, distance))
            .await
            .unwrap();
        fixture
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) async fn train_ids(&self, label: i64) -> Vec<String> {
        train_ids(&self.store, label).await
    }
}

pub(crate) async fn open(folder: &Path, clock: Clock) -> Store {
    Store::open(config(folder), clock).await.unwrap()
}

pub(crate) fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.store.data_dir = folder.join("store");
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config
}

pub(crate) fn classes(counts: &[(&str, u32)]) -> Vec<String> {
    counts
        .iter()
        .map(|(label, _)| (*label).to_owned())
        .collect()
}

pub(crate) fn run(id: &str, max_synthetic_fraction: f64, max_phash_distance: Option<i64>) -> Run {
    Run {
        id: id.into(),
        dataset_id: "faces".into(),
        recipe_toml: "name = \"test\"".into(),
        seed: -1,
        generator: "noise".into(),
        max_synthetic_fraction,
        max_phash_distance,
        prompt_version: "5e1f".into(),
        class_size: None,
    }
}

/// Ids of the train images of a class, in path order.
pub(crate) async fn train_ids(store: &Store, label: i64) -> Vec<String> {
    let rows = label_store::images::rows(store, "faces", label_store::split::Side::Train)
        .await
        .unwrap();
    rows.into_iter()
        .filter(|row| row.label == label)
        .map(|row| row.id)
        .collect()
}

/// Plans `n` slots for class `target` with the sources and tries given.
pub(crate) async fn plan(
    store: &Store,
    target: &str,
    n: u32,
    sources: &[String],
    tries: u32,
) -> u32 {
    let plan = |ordinal| SlotPlan {
        target_label: target.into(),
        ordinal,
        source_image_ids: sources.to_vec(),
        tries_per_source: tries,
    };
    slots::add(store, "run", &(0..n).map(plan).collect::<Vec<_>>())
        .await
        .unwrap()
}

/// An attempt that the guard accepted, with noise of this seed.
pub(crate) fn attempt(slot: &str, attempt: u32, seed: u64) -> Attempt {
    let image = Bytes::from(noise(seed));
    Attempt {
        run_id: "run".into(),
        slot_id: slot.into(),
        attempt,
        candidate_id: blake3::hash(format!("{slot} {attempt} {seed}").as_bytes()).to_hex()[..32]
            .to_owned(),
        image: Some(image),
        accepted: true,
        verdicts: vec![Verdict {
            gate: "ssim".into(),
            accepted: true,
            score: Some(0.5),
            ..Verdict::default()
        }],
        fault: Some(1),
        ..Attempt::default()
    }
}

/// The same, rejected.
pub(crate) fn rejected(slot: &str, number: u32, seed: u64) -> Attempt {
    Attempt {
        accepted: false,
        rejected_by: "ssim".into(),
        ..attempt(slot, number, seed)
    }
}

/// A 16x16 picture in 2x2 blocks of noise, different for each seed.
pub(crate) fn picture(seed: u64) -> RgbImage {
    RgbImage::from_fn(16, 16, |x, y| {
        let hash = blake3::hash(format!("{seed} {} {}", x / 2, y / 2).as_bytes());
        image::Rgb([hash.as_bytes()[0]; 3])
    })
}

/// [`picture`] as PNG.
pub(crate) fn noise(seed: u64) -> Vec<u8> {
    encode(&picture(seed), ImageFormat::Png)
}

pub(crate) fn encode(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A data set in AffectNet's layout with this many noise images of each class; returns the rows of its labels.csv.
pub(crate) fn affectnet(root: &Path, counts: &[(&str, u32)]) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for (class, (label, n)) in counts.iter().enumerate() {
        fs::create_dir_all(root.join(label)).unwrap();
        for i in 0..*n {
            let path = format!("{label}/{i:04}.png");
            fs::write(
                root.join(&path),
                noise(1_000_000 * (class as u64 + 1) + u64::from(i)),
            )
            .unwrap();
            rows.push((path, (*label).to_owned()));
        }
    }
    write_labels(root, &rows);
    rows
}

pub(crate) fn write_labels(root: &Path, rows: &[(String, String)]) {
    let lines: Vec<String> = rows
        .iter()
        .map(|(path, label)| format!("{path},{label}\n"))
        .collect();
    fs::write(
        root.join("labels.csv"),
        format!("pth,label\n{}", lines.concat()),
    )
    .unwrap();
}

pub(crate) async fn import(
    store: &Store,
    path: &Path,
    classes: &[String],
) -> Result<ImportReport, StoreError> {
    let (sender, mut progress) = mpsc::channel(1);
    let request = ImportRequest {
        dataset_id: "faces".into(),
        path: PathBuf::from(path),
        classes: classes.to_vec(),
    };
    let listen = async {
        let mut last = None;
        while let Some(event) = progress.recv().await {
            last = Some(event);
        }
        last
    };
    let work = async {
        let report = import::import(store, request, &sender).await;
        drop(sender);
        report
    };
    let (report, last) = tokio::join!(work, listen);
    if let (Ok(_), Some(last)) = (&report, last) {
        assert_eq!(last.done, last.total);
    }
    report
}

pub(crate) fn totals(counts: &[ClassCounts]) -> Vec<[u32; 5]> {
    counts
        .iter()
        .map(|c| [c.total, c.train, c.val, c.calibration, c.golden])
        .collect()
}
