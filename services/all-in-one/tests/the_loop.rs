//! The whole loop on the services of one process: what it promises about data, golden set, cap, models and exports.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use futures::StreamExt as _;
use saga_proto::labelstore::v1::{
    ExportRunRequest, ListGoldenReadsRequest, ReadSplitRequest, Split,
    dataset_service_client::DatasetServiceClient, golden_service_client::GoldenServiceClient,
};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_tail_becomes_an_augmented_data_set_two_models_and_a_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let services = common::start(folder.path()).await;
    let dataset = folder.path().join("data");
    common::render(&services, &dataset).await;
    let results = common::run(&services, "whole", &dataset).await;

    for key in [
        "run_id",
        "recipe",
        "seed",
        "classes",
        "delta",
        "candidates",
        "guard",
        "seconds",
    ] {
        assert!(!results[key].is_null(), "results.json lacks `{key}`");
    }
    for model in ["baseline", "augmented"] {
        for key in ["accuracy", "macro_f1", "per_class_recall", "confusion"] {
            assert!(
                !results[model][key].is_null(),
                "results.json lacks `{model}.{key}`"
            );
        }
        for file in [
            "config.json",
            "preprocessor_config.json",
            "model.safetensors",
        ] {
            assert!(
                folder
                    .path()
                    .join("models")
                    .join(model)
                    .join(file)
                    .is_file(),
                "{model}/{file} is missing"
            );
        }
    }
    for (label, count) in common::COUNTS {
        assert_eq!(results["dataset"]["counts"][label], count, "{label}");
    }
    let candidates = &results["candidates"];
    assert!(
        candidates["accepted"].as_u64().unwrap() > 0,
        "nothing was accepted: {candidates}"
    );
    assert!(candidates["generated"].as_u64() >= candidates["accepted"].as_u64());

    golden_is_sealed(&services, results["dataset"]["dataset_id"].as_str()).await;
    let export = folder.path().join("export");
    exported_files_keep_their_promises(&services, &export, &results).await;
    services.stop().await.unwrap();
}

/// The golden rows leave by ReadGolden alone, and each read is on record.
async fn golden_is_sealed(services: &all_in_one::AllInOne, dataset_id: Option<&str>) {
    let dataset_id = dataset_id
        .expect("results.json names the data set")
        .to_owned();
    let transport = saga_client::connect(&services.addresses().label_store)
        .await
        .unwrap();
    let request = ReadSplitRequest {
        dataset_id: dataset_id.clone(),
        split: Split::Golden.into(),
        ..Default::default()
    };
    let refused = DatasetServiceClient::new(transport.clone())
        .read_split(request)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    let reads = GoldenServiceClient::new(transport)
        .list_golden_reads(ListGoldenReadsRequest { dataset_id })
        .await
        .unwrap()
        .into_inner()
        .reads;
    assert_eq!(reads.len(), 1, "{reads:?}");
    assert_eq!(reads[0].run_id, "whole");
}

async fn exported_files_keep_their_promises(
    services: &all_in_one::AllInOne,
    export: &Path,
    results: &Value,
) {
    let transport = saga_client::connect(&services.addresses().label_store)
        .await
        .unwrap();
    let request = ExportRunRequest {
        run_id: "whole".to_owned(),
        directory: export.to_str().unwrap().to_owned(),
    };
    let mut progress = DatasetServiceClient::new(transport)
        .export_run(request)
        .await
        .unwrap()
        .into_inner();
    while let Some(step) = progress.next().await {
        step.unwrap();
    }
    for file in [
        "augmented_labels.csv",
        "combined_labels.csv",
        "testset_saved.csv",
        "train.csv",
        "val.csv",
        "test.csv",
        "label_map.json",
        "status.json",
        "env_report.json",
    ] {
        assert!(export.join(file).is_file(), "{file} is missing");
    }
    let accepted = results["candidates"]["accepted"].as_u64().unwrap();
    assert_eq!(
        rows(&export.join("augmented_labels.csv")).len() as u64,
        accepted
    );

    let golden: HashSet<String> = paths(&export.join("testset_saved.csv"));
    let train = paths(&export.join("train.csv"));
    assert!(
        !golden.is_empty() && golden.is_disjoint(&train),
        "golden images are in train.csv"
    );

    let status: Value =
        serde_json::from_slice(&std::fs::read(export.join("status.json")).unwrap()).unwrap();
    let text = status.to_string();
    assert!(text.contains("synthetic"), "{text}");
    let mut by_class: HashMap<String, (f64, f64)> = HashMap::new();
    for (label, count) in results["candidates"]["accepted_by_class"]
        .as_object()
        .unwrap()
    {
        by_class.entry(label.clone()).or_default().1 = count.as_f64().unwrap();
        by_class.entry(label.clone()).or_default().0 = results["dataset"]["splits"][label]["train"]
            .as_f64()
            .unwrap();
    }
    for (label, (real, synthetic)) in by_class {
        assert!(
            synthetic / (real + synthetic) <= 0.60,
            "{label}: {synthetic} synthetic beside {real} real"
        );
    }
}

fn rows(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .skip(1)
        .map(str::to_owned)
        .collect()
}

/// First column of every row.
fn paths(path: &Path) -> HashSet<String> {
    rows(path)
        .iter()
        .map(|row| row.split(',').next().unwrap().to_owned())
        .collect()
}
