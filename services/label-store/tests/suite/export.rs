//! Export: files, columns, figures, repetition.

use std::{collections::BTreeSet, fs, io::Read as _, path::Path};

use label_store::{
    Store, StoreError,
    admission::{Attempt, settle},
    candidate::Provenance,
    export, images, runs,
    split::Side,
};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::common::{Fixture, attempt, plan, rejected, run};

async fn export(
    store: &Store,
    run: &str,
    folder: &Path,
) -> Result<Vec<export::Progress>, StoreError> {
    let (sender, mut receiver) = mpsc::channel(64);
    export::export(store, run, folder, &sender).await?;
    drop(sender);
    let mut progress = Vec::new();
    while let Some(event) = receiver.recv().await {
        progress.push(event);
    }
    Ok(progress)
}

fn provenance() -> Provenance {
    Provenance {
        backend: "noise".into(),
        backend_version: "noise-1".into(),
        prompt: "an old face, soft light".into(),
        seed: u64::MAX,
        source_blake3: "5o".into(),
        parameters: [("strength".to_owned(), "0.4".to_owned())].into(),
        cost_usd: 0.039,
        duration_us: 1_250_000,
    }
}

/// A run with three accepted images of fear and one rejected.
async fn finished() -> Fixture {
    let fixture = Fixture::with_run(&[("neutral", 40), ("fear", 10)], 0.6, None).await;
    let sources = fixture.train_ids(0).await;
    plan(&fixture.store, "fear", 4, &sources[..1], 1).await;
    for n in 0..3 {
        let attempt = Attempt {
            prompt_text: "a {age} face".into(),
            backend: "noise".into(),
            provenance: provenance(),
            ..attempt(&format!("run/fear/{n:05}"), 0, n)
        };
        settle(&fixture.store, attempt).await.unwrap();
    }
    settle(&fixture.store, rejected("run/fear/00003", 0, 3))
        .await
        .unwrap();
    let stage = runs::Stage {
        name: "baseline".into(),
        result_json: r#"{ "environment": { "device": "cpu" } }"#.into(),
        duration_us: 1,
    };
    runs::complete_stage(&fixture.store, "run", &stage)
        .await
        .unwrap();
    fixture
}

fn column(folder: &Path, file: &str, name: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_path(folder.join(file)).unwrap();
    let at = reader
        .headers()
        .unwrap()
        .iter()
        .position(|h| h == name)
        .unwrap();
    reader
        .records()
        .map(|record| record.unwrap()[at].to_owned())
        .collect()
}

fn json(folder: &Path, file: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap()
}

#[tokio::test]
async fn an_export_holds_every_output() {
    let fixture = finished().await;
    let out = fixture.folder.path().join("out");
    let progress = export(&fixture.store, "run", &out).await.unwrap();
    assert_eq!(progress.last().map(|p| (p.done, p.total)), Some((16, 16)));
    for path in column(&out, "augmented_labels.csv", "pth") {
        assert!(path.starts_with("aug_fear/") && image::open(out.join(path)).is_ok());
    }
    assert_eq!(fs::read_dir(out.join("aug_fear")).unwrap().count(), 3);
    assert_eq!(
        json(&out, "label_map.json"),
        serde_json::json!({ "neutral": 0, "fear": 1 })
    );
    let count = |file| column(&out, file, "pth").len();
    assert_eq!(
        (
            count("train.csv"),
            count("val.csv"),
            count("calibration.csv"),
            count("test.csv")
        ),
        (33, 8, 5, 7)
    );
    assert_eq!(
        column(&out, "synthetic_meta.csv", "ssim_score"),
        ["0.5", "0.5", "0.5"]
    );
    assert_eq!(
        fs::read_to_string(out.join("synthetic_meta.jsonl"))
            .unwrap()
            .lines()
            .count(),
        3
    );
    let environment = json(&out, "env_report.json");
    assert!(environment["parameters"]["recipe_toml"].is_string());
    assert_eq!(
        environment["stages"],
        serde_json::json!({ "baseline": { "device": "cpu" } })
    );
}

#[tokio::test]
async fn every_accepted_image_comes_with_how_it_was_made() {
    let fixture = finished().await;
    let out = fixture.folder.path().join("out");
    export(&fixture.store, "run", &out).await.unwrap();
    let expected = [
        ("label", "fear"),
        ("source_label", "neutral"),
        ("backend", "noise"),
        ("backend_version", "noise-1"),
        ("prompt", "an old face, soft light"),
        ("prompt_text", "a {age} face"),
        ("prompt_version", "5e1f"),
        ("seed", "18446744073709551615"),
        ("parameters", "{\"strength\":\"0.4\"}"),
        ("cost_usd", "0.039"),
        ("duration_seconds", "1.25"),
        ("created_at", "2023-11-14T22:13:20Z"),
        ("source_blake3", "5o"),
    ];
    for (name, value) in expected {
        assert_eq!(
            column(&out, "synthetic_meta.csv", name),
            [value; 3],
            "{name}"
        );
    }
    let lines = fs::read_to_string(out.join("synthetic_meta.jsonl")).unwrap();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let arm = serde_json::json!({
            "source_label": "neutral", "target_label": "fear", "prompt_text": "a {age} face", "backend": "noise",
        });
        assert_eq!(
            (&line["arm"], &line["prompt_version"]),
            (&arm, &"5e1f".into())
        );
        assert_eq!(line["provenance"]["duration_us"], 1_250_000);
        assert_eq!(line["created_at"], "2023-11-14T22:13:20Z");
    }
}

#[tokio::test]
async fn the_archive_holds_the_accepted_images_and_their_table() {
    let fixture = finished().await;
    let out = fixture.folder.path().join("out");
    export(&fixture.store, "run", &out).await.unwrap();
    let packed = fs::read(out.join("augmented.tar")).unwrap();
    let mut names = Vec::new();
    for entry in tar::Archive::new(packed.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, fs::read(out.join(&name)).unwrap(), "{name}");
        names.push(name);
    }
    let mut expected = vec!["augmented_labels.csv".to_owned()];
    expected.extend(column(&out, "augmented_labels.csv", "pth"));
    assert_eq!(names, expected);
    export(&fixture.store, "run", &out).await.unwrap();
    assert_eq!(fs::read(out.join("augmented.tar")).unwrap(), packed);
}

#[tokio::test]
async fn golden_images_leave_as_names_only() {
    let fixture = finished().await;
    let out = fixture.folder.path().join("out");
    export(&fixture.store, "run", &out).await.unwrap();
    let golden: BTreeSet<_> = column(&out, "testset_saved.csv", "pth")
        .into_iter()
        .collect();
    assert_eq!(golden.len(), 7);
    for file in [
        "combined_labels.csv",
        "train.csv",
        "val.csv",
        "calibration.csv",
        "augmented_labels.csv",
    ] {
        assert!(
            column(&out, file, "pth")
                .iter()
                .all(|path| !golden.contains(path)),
            "{file}"
        );
    }
    let sealed = images::rows(&fixture.store, "faces", Side::Golden).await;
    assert!(matches!(sealed, Err(StoreError::GoldenSealed)));
}

#[tokio::test]
async fn the_status_has_all_its_keys_and_adds_up() {
    let fixture = finished().await;
    let out = fixture.folder.path().join("out");
    export(&fixture.store, "run", &out).await.unwrap();
    let status = json(&out, "status.json");
    assert_eq!(status["prompt_hash"], "5e1f");
    for key in [
        "totals",
        "synthetic_fraction",
        "per_class",
        "split_fractions",
        "image_size",
        "image_mode",
        "seed",
        "generator",
        "prompt_hash",
        "thresholds",
        "timestamp",
    ] {
        assert!(!status[key].is_null(), "{key}");
    }
    assert_eq!(
        status["totals"],
        serde_json::json!({ "original": 50, "synthetic": 3, "total": 53 })
    );
    assert_eq!(
        status["per_class"]["fear"]["train_synthetic_fraction"],
        3.0 / 8.0
    );
    assert_eq!(
        status["image_size"]["width"],
        serde_json::json!({ "min": 16, "max": 16 })
    );
    assert_eq!(status["seed"], u64::MAX);
}

#[tokio::test]
async fn exporting_again_changes_no_image_and_mends_what_is_damaged() {
    let fixture = finished().await;
    let out = fixture.folder.path().join("out");
    export(&fixture.store, "run", &out).await.unwrap();
    let paths = column(&out, "augmented_labels.csv", "pth");
    let before = fs::metadata(out.join(&paths[0]))
        .unwrap()
        .modified()
        .unwrap();
    fs::write(out.join(&paths[1]), "damaged").unwrap();
    export(&fixture.store, "run", &out).await.unwrap();
    assert_eq!(
        fs::metadata(out.join(&paths[0]))
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
    assert!(image::open(out.join(&paths[1])).is_ok());
    assert!(fs::read_dir(&out).unwrap().all(|e| {
        !e.unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".partial")
    }));
}

#[tokio::test]
async fn a_folder_is_for_one_run_and_absolute() {
    let fixture = finished().await;
    let out = fixture.folder.path().join("out");
    export(&fixture.store, "run", &out).await.unwrap();
    runs::create(&fixture.store, &run("other", 0.5, None))
        .await
        .unwrap();
    let mixed = export(&fixture.store, "other", &out)
        .await
        .unwrap_err()
        .to_string();
    assert!(mixed.contains("holds the export of run 'run'"), "{mixed}");
    let relative = export(&fixture.store, "run", Path::new("out"))
        .await
        .unwrap_err()
        .to_string();
    assert!(relative.contains("is not absolute"), "{relative}");
}
