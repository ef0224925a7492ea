//! The whole loop on the services of one process: what it promises about data, golden set, cap, models, exports, and what
//! gates get to see.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

use all_in_one::AllInOne;
use common::spy::Spy;
use futures::StreamExt as _;
use saga_client::Transport;
use saga_imaging::DecodeLimits;
use saga_proto::{
    generator::v1::Fault,
    labelstore::v1::{
        ExportRunRequest, GetRunRequest, ListCandidatesRequest, ListCandidatesResponse,
        ListGoldenReadsRequest, ReadSplitRequest, Split,
        dataset_service_client::DatasetServiceClient, golden_service_client::GoldenServiceClient,
        run_service_client::RunServiceClient,
    },
};
use saga_provenance::State;
use serde_json::Value;

const RUN: &str = "whole";

#[tokio::test(flavor = "multi_thread")]
async fn a_long_tail_becomes_an_augmented_data_set_two_models_and_a_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let services = common::start(folder.path()).await;
    let dataset = folder.path().join("data");
    common::render(&services, &dataset).await;
    let spy = Spy::default();
    let recipe = with_gate(&spy.start());
    let results = common::run(&services, RUN, &recipe, &dataset).await;
    let store = store(&services).await;

    results_hold_every_figure(&results);
    models_are_hugging_face_directories(&folder.path().join("models"));
    golden_is_sealed(&store).await;
    let export = folder.path().join("export");
    export_run(&store, &export).await;
    exported_files_keep_their_promises(&export, &results);
    let candidates = candidates(&store).await;
    exported_images_tell_how_they_were_made(&export, &candidates);
    gates_see_no_truth(&spy, &candidates);
    services.stop().await.unwrap();
}

/// The tiny recipe with one more gate, asked first.
fn with_gate(address: &str) -> String {
    let gate = format!("[[gates]]\nname = \"spy\"\naddress = \"{address}\"\n\n[[gates]]");
    common::RECIPE.replacen("[[gates]]", &gate, 1)
}

async fn store(services: &AllInOne) -> Transport {
    saga_client::connect(&services.addresses().label_store)
        .await
        .unwrap()
}

fn results_hold_every_figure(results: &Value) {
    for key in ["recipe", "seed", "classes", "delta", "guard", "seconds"] {
        assert!(!results[key].is_null(), "results.json lacks `{key}`");
    }
    assert_eq!(results["run_id"], RUN);
    for model in ["baseline", "augmented"] {
        for key in ["accuracy", "macro_f1", "per_class_recall", "confusion"] {
            let figure = &results[model][key];
            assert!(!figure.is_null(), "results.json lacks `{model}.{key}`");
        }
        let judged = |rows: &Value| -> u64 {
            let rows = rows.as_array().unwrap().iter();
            rows.flat_map(|row| row.as_array().unwrap())
                .map(|count| count.as_u64().unwrap())
                .sum()
        };
        let golden = results["golden"]["counts"].as_object().unwrap().values();
        let golden: u64 = golden.map(|count| count.as_u64().unwrap()).sum();
        assert!(golden > 0);
        assert_eq!(judged(&results[model]["confusion"]), golden, "{model}");
    }
    for (label, count) in common::COUNTS {
        assert_eq!(results["dataset"]["counts"][label], count, "{label}");
    }
    let candidates = &results["candidates"];
    assert!(candidates["accepted"].as_u64() > Some(0), "{candidates}");
    assert!(candidates["generated"].as_u64() >= candidates["accepted"].as_u64());
    assert_eq!(candidates["errors"], 0, "{candidates}");
}

fn models_are_hugging_face_directories(models: &Path) {
    for (model, architecture) in [("baseline", "vit"), ("augmented", "vit"), ("clip", "clip")] {
        let folder = models.join(model);
        for file in ["preprocessor_config.json", "model.safetensors"] {
            assert!(folder.join(file).is_file(), "{model}/{file} is missing");
        }
        let config: Value =
            serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["model_type"], architecture, "{model}");
    }
}

/// The golden rows leave by ReadGolden alone, and each read is on record.
async fn golden_is_sealed(store: &Transport) {
    let run = RunServiceClient::new(store.clone())
        .get_run(GetRunRequest {
            run_id: RUN.to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    let dataset_id = run.run.unwrap().dataset_id;
    let mut datasets = DatasetServiceClient::new(store.clone());
    let mut read = async |split: Split| {
        let request = ReadSplitRequest {
            dataset_id: dataset_id.clone(),
            split: split.into(),
            ..Default::default()
        };
        datasets.read_split(request).await
    };
    assert!(read(Split::Train).await.is_ok());
    let refused = read(Split::Golden).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    let reads = GoldenServiceClient::new(store.clone())
        .list_golden_reads(ListGoldenReadsRequest { dataset_id })
        .await
        .unwrap()
        .into_inner()
        .reads;
    assert_eq!(reads.len(), 1, "{reads:?}");
    assert_eq!(reads[0].run_id, RUN);
}

async fn export_run(store: &Transport, export: &Path) {
    let request = ExportRunRequest {
        run_id: RUN.to_owned(),
        directory: export.to_str().unwrap().to_owned(),
        face_side: Some(32),
    };
    let mut datasets = DatasetServiceClient::new(store.clone());
    let mut progress = datasets.export_run(request).await.unwrap().into_inner();
    while let Some(step) = progress.next().await {
        step.unwrap();
    }
}

fn exported_files_keep_their_promises(export: &Path, results: &Value) {
    for file in [
        "combined_labels.csv",
        "val.csv",
        "calibration.csv",
        "test.csv",
        "synthetic_meta.csv",
        "synthetic_meta.jsonl",
        "label_map.json",
        "env_report.json",
    ] {
        assert!(export.join(file).is_file(), "{file} is missing");
    }
    let accepted = results["candidates"]["accepted"].as_u64().unwrap();
    let augmented = paths(&export.join("augmented_labels.csv"));
    assert_eq!(augmented.len() as u64, accepted);
    for path in &augmented {
        let image = image::open(export.join(path)).unwrap();
        let (size, mode) = ((image.width(), image.height()), image.color());
        assert_eq!((size, mode), ((48, 48), image::ColorType::L8), "{path}");
    }

    let faces = paths(&export.join("synthetic_meta_cropped.csv"));
    let status: Value =
        serde_json::from_slice(&std::fs::read(export.join("status.json")).unwrap()).unwrap();
    let (cut, without) = (
        &status["cropped"]["faces"],
        &status["cropped"]["without_face"],
    );
    assert_eq!(cut.as_u64().unwrap(), faces.len() as u64);
    assert_eq!(cut.as_u64().unwrap() + without.as_u64().unwrap(), accepted);
    // The studio renders faces, and most of them are found.
    assert!(2 * faces.len() as u64 > accepted, "{status}");
    for path in &faces {
        let face = image::open(export.join(path)).unwrap();
        let (size, mode) = ((face.width(), face.height()), face.color());
        assert_eq!((size, mode), ((32, 32), image::ColorType::L8), "{path}");
    }

    let golden = paths(&export.join("testset_saved.csv"));
    let train = paths(&export.join("train.csv"));
    assert!(!golden.is_empty() && golden.is_disjoint(&train));
    assert!(train.is_superset(&augmented));

    let status = std::fs::read(export.join("status.json")).unwrap();
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["run_id"], RUN);
    for (label, class) in status["per_class"].as_object().unwrap() {
        let share = class["train_synthetic_fraction"].as_f64().unwrap();
        assert!(share <= 0.60, "{label} is {share} synthetic");
    }
}

/// Signed in the file itself, and the same that the store knows.
fn exported_images_tell_how_they_were_made(export: &Path, candidates: &[ListCandidatesResponse]) {
    for path in paths(&export.join("augmented_labels.csv")) {
        let file = std::fs::read(export.join(&path)).unwrap();
        let report = saga_provenance::verify(&file, None).unwrap();
        assert_eq!(report.state, State::Untrusted, "{:?}", report.failures);
        let made = report.snapshot.unwrap();
        let known = candidates
            .iter()
            .find(|candidate| candidate.candidate_id == made.candidate_id)
            .unwrap();
        let provenance = known.provenance.as_ref().unwrap();
        assert_eq!(made.run_id, RUN);
        assert_eq!(made.label, known.target_label);
        assert_eq!(made.backend, provenance.backend);
        assert_eq!(made.prompt, provenance.prompt);
        assert_eq!(made.seed, provenance.seed);
        let judged = known.image.as_ref().unwrap();
        assert_eq!(made.image_blake3, judged.blake3);
        let pixels = |file| saga_imaging::decode(file, &DecodeLimits::default()).unwrap();
        assert_eq!(pixels(&file), pixels(&judged.data));
        let source = &known.source.as_ref().unwrap().blake3;
        assert_eq!(
            report.ingredients[0].instance_id,
            format!("blake3:{source}")
        );
        let kind = report.xmp_digital_source_type;
        assert_eq!(
            kind.as_deref(),
            Some(saga_provenance::COMPOSITE_WITH_TRAINED)
        );
    }
}

/// First column of every row of a table.
fn paths(table: &Path) -> HashSet<String> {
    let text = std::fs::read_to_string(table).unwrap();
    let rows = text.lines().skip(1);
    rows.map(|row| row.split(',').next().unwrap().to_owned())
        .collect()
}

/// Every candidate with its image and its truth.
async fn candidates(store: &Transport) -> Vec<ListCandidatesResponse> {
    let request = ListCandidatesRequest {
        run_id: RUN.to_owned(),
        limit: 0,
        include_images: true,
    };
    let mut runs = saga_client::limited!(RunServiceClient::new(store.clone()));
    let stream = runs.list_candidates(request).await.unwrap().into_inner();
    stream.map(Result::unwrap).collect().await
}

/// The studio knows which candidates it spoilt and the store keeps it; a gate must judge by the picture alone.
fn gates_see_no_truth(spy: &Spy, candidates: &[ListCandidatesResponse]) {
    let faults: BTreeSet<Fault> = candidates
        .iter()
        .map(|candidate| candidate.truth.as_ref().unwrap().fault())
        .collect();
    assert!(faults.contains(&Fault::None), "{faults:?}");
    assert!(faults.len() > 1, "no fault was planted: {faults:?}");

    let stored: HashMap<&str, &ListCandidatesResponse> = candidates
        .iter()
        .map(|candidate| (candidate.candidate_id.as_str(), candidate))
        .collect();
    let items = spy.items.lock().unwrap();
    assert_eq!(items.len(), candidates.len());
    for item in items.iter() {
        let known = stored[item.candidate_id.as_str()];
        let (seen, kept) = (
            item.candidate.as_ref().unwrap(),
            known.image.as_ref().unwrap(),
        );
        assert_eq!(seen.data, kept.data);
        only_pixels(&seen.data);
        assert_eq!(item.target_label, known.target_label);
        let prompt = format!("a photo of a {} face", known.target_label);
        assert_eq!(item.prompt, prompt);
        assert!(item.thresholds.is_empty() && item.model.is_empty());
    }
    let usual = [
        "content-type",
        "grpc-accept-encoding",
        "grpc-timeout",
        "saga-priority",
        "te",
        "traceparent",
        "tracestate",
        "user-agent",
    ];
    for name in spy.metadata.lock().unwrap().iter() {
        assert!(usual.contains(&name.as_str()), "gates are sent `{name}`");
    }
}

/// Nothing but the JFIF header and what decoding needs before the first scan: no comment, no metadata.
fn only_pixels(jpeg: &[u8]) {
    assert_eq!(jpeg[..2], [0xFF, 0xD8]);
    let mut at = 2;
    loop {
        assert_eq!(jpeg[at], 0xFF);
        let marker = jpeg[at + 1];
        let length = usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        match marker {
            // Start of scan: pixels from here on.
            0xDA => return,
            // Quantisation and Huffman tables, frame header, restart interval.
            0xDB | 0xC4 | 0xC0..=0xC2 | 0xDD => {}
            0xE0 => assert_eq!((&jpeg[at + 4..at + 9], length), (&b"JFIF\0"[..], 16)),
            _ => panic!("a segment {marker:#x} of {length} bytes"),
        }
        at += 2 + length;
    }
}
