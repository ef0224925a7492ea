//! Export: files, columns, figures, repetition.

use std::{collections::BTreeSet, fs, io::Read as _, path::Path};

use image::ImageFormat;
use label_store::{
    Audit, Clock, Store, StoreError,
    admission::{Attempt, settle},
    candidate::Provenance,
    export, images, runs,
    split::Side,
};
use saga_chassis::ServiceConfig as _;
use saga_provenance::State;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::common::{
    Fixture, attempt, config, encode, import, noise, open, picture, plan, rejected, run,
};

async fn export(
    store: &Store,
    run: &str,
    folder: &Path,
) -> Result<Vec<export::Progress>, StoreError> {
    let (sender, mut receiver) = mpsc::channel(64);
    export::export(store, run, folder, None, &sender).await?;
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
    assert_eq!(progress.last().map(|p| (p.done, p.total)), Some((4, 4)));
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
async fn exported_images_carry_signed_provenance_and_the_pixels_that_were_judged() {
    let fixture = finished().await;
    let out = fixture.folder.path().join("out");
    export(&fixture.store, "run", &out).await.unwrap();
    let paths = column(&out, "synthetic_meta.csv", "pth");
    let hashes = column(&out, "synthetic_meta.csv", "blake3");
    let judged = column(&out, "synthetic_meta.csv", "unsigned_blake3");
    let status = json(&out, "status.json");
    for (n, path) in paths.iter().enumerate() {
        let file = fs::read(out.join(path)).unwrap();
        let before = noise(n as u64);
        assert_eq!(hashes[n], blake3::hash(&file).to_hex().as_str());
        assert_eq!(judged[n], blake3::hash(&before).to_hex().as_str());
        let pixels = |bytes| image::load_from_memory(bytes).unwrap();
        assert_eq!(pixels(&file), pixels(&before));
        let report = saga_provenance::verify(&file, None).unwrap();
        assert_eq!(report.state, State::Untrusted, "{:?}", report.failures);
        let snapshot = report.snapshot.unwrap();
        assert_eq!(
            (snapshot.run_id.as_str(), snapshot.label.as_str()),
            ("run", "fear")
        );
        assert_eq!(snapshot.image_blake3, judged[n]);
        let signer = report.signer.unwrap();
        assert_eq!(
            status["provenance"]["certificate_sha256"],
            signer.certificate_sha256
        );
    }
    assert_eq!(status["provenance"]["signed"], 3);
    assert_eq!(status["provenance"]["unsigned"], serde_json::json!({}));
    let certificate = status["provenance"]["certificate"].as_str().unwrap();
    assert!(certificate.contains("untrusted"), "{certificate}");
    assert_eq!(fixture.store.audit().await.unwrap(), Audit::default());
}

#[tokio::test]
async fn an_image_is_signed_once_for_each_certificate() {
    let Fixture { folder, store, .. } = finished().await;
    let images = async |store: &Store, name: &str| {
        let out = folder.path().join(name);
        export(store, "run", &out).await.unwrap();
        let paths = column(&out, "augmented_labels.csv", "pth");
        let images = paths.iter().map(|path| fs::read(out.join(path)).unwrap());
        images.collect::<Vec<_>>()
    };
    let first = images(&store, "first").await;
    store.close().await;
    let store = open(folder.path(), Clock::System).await;
    assert_eq!(images(&store, "second").await, first);
    store.close().await;

    fs::remove_file(folder.path().join("store/provenance.pem")).unwrap();
    let store = open(folder.path(), Clock::System).await;
    let anew = images(&store, "third").await;
    assert!(anew.iter().zip(&first).all(|(anew, first)| anew != first));
    store.close().await;
    // The start sweeps what the first certificate signed.
    let store = open(folder.path(), Clock::System).await;
    assert_eq!(store.audit().await.unwrap(), Audit::default());
    assert_eq!(images(&store, "fourth").await, anew);
}

#[tokio::test]
async fn what_cannot_be_signed_is_exported_and_reported() {
    let fixture = Fixture::with_run(&[("neutral", 40), ("fear", 10)], 0.6, None).await;
    let sources = fixture.train_ids(0).await;
    plan(&fixture.store, "fear", 1, &sources[..1], 1).await;
    let bitmap = encode(&picture(7), ImageFormat::Bmp);
    let candidate = Attempt {
        image: Some(bitmap.clone().into()),
        ..attempt("run/fear/00000", 0, 7)
    };
    settle(&fixture.store, candidate).await.unwrap();
    let out = fixture.folder.path().join("out");
    export(&fixture.store, "run", &out).await.unwrap();
    let path = &column(&out, "augmented_labels.csv", "pth")[0];
    assert_eq!(fs::read(out.join(path)).unwrap(), bitmap);
    let provenance = &json(&out, "status.json")["provenance"];
    assert_eq!(provenance["signed"], 0);
    let reasons = provenance["unsigned"].as_object().unwrap();
    let (why, count) = reasons.iter().next().unwrap();
    assert!(why.contains("image/bmp") && *count == 1, "{reasons:?}");
}

#[tokio::test]
async fn an_export_is_imported_as_any_data_set() {
    let fixture = finished().await;
    let out = fixture.folder.path().join("out");
    export(&fixture.store, "run", &out).await.unwrap();
    let other = Fixture::new().await;
    let report = import(&other.store, &out, &["aug_fear".into()])
        .await
        .unwrap();
    assert_eq!((report.imported, report.rejected), (3, 0));
}

#[tokio::test]
async fn a_certificate_that_cannot_sign_stops_the_start_and_says_where_it_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.provenance.certificate = folder.path().join("none.pem");
    let alone = config.check().unwrap_err();
    assert_eq!(alone.key, "provenance.key");
    config.provenance.key = folder.path().join("none.key");
    let error = Store::open(config, Clock::System).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("none.pem") && text.contains("[provenance]"),
        "{text}"
    );
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
    assert_eq!(status["image_mode"], serde_json::json!({ "RGB": 3 }));
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
