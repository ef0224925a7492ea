//! The unmodified tritonclient from PyPI against the model services, which answer as their own RPCs do.
//!
//! `make test` puts tritonclient into the cache folder and names it in SAGA_TRITONCLIENT; without it this is skipped.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use saga_proto::{
    classifier::v1::{ClassifyRequest, classifier_service_client::ClassifierServiceClient},
    clip::v1::{ScoreRequest, clip_service_client::ClipServiceClient},
    model::v1::{LoadModelRequest, model_service_client::ModelServiceClient},
    r#type::v1::Image,
};
use serde_json::Value;

/// Tiny checkpoints that the models crate is tested with.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../lib/models/tests/fixtures")
        .join(name)
}

async fn load(address: &str, directory: &Path) {
    let transport = saga_client::connect(address).await.unwrap();
    let request = LoadModelRequest {
        name: "tiny".to_owned(),
        directory: directory.display().to_string(),
        make_default: true,
    };
    let mut client = ModelServiceClient::new(transport);
    client.load_model(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_gets_the_services_own_answers() {
    let Some(library) = std::env::var_os("SAGA_TRITONCLIENT") else {
        eprintln!(
            "skipped: SAGA_TRITONCLIENT names no folder with tritonclient; `make test` fetches it"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let services = common::start(folder.path()).await;
    let addresses = services.addresses();
    load(&addresses.vit_classifier, &fixture("vit")).await;
    load(&addresses.clip_gate, &fixture("clip")).await;
    let picture = fixture("vit").join("wide.png");
    let bare = |address: &str| address.trim_start_matches("http://").to_owned();
    let (vit, clip, image) = (
        bare(&addresses.vit_classifier),
        bare(&addresses.clip_gate),
        picture.clone(),
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/triton/client.py");
    let run = tokio::task::spawn_blocking(move || {
        Command::new("python3")
            .env("PYTHONPATH", library)
            .arg(script)
            .args([&vit, &clip])
            .arg(image)
            .output()
    });
    let output = run.await.unwrap().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();

    assert_eq!(
        (&found["live"], &found["ready"]),
        (&true.into(), &true.into())
    );
    assert_eq!(found["unknown_ready"], false);
    assert_eq!(found["server"], "vit-classifier");
    assert_eq!(
        found["outputs"],
        serde_json::json!(["logits", "probabilities"])
    );
    for (what, words) in [
        ("unknown_model", "vit-classifier"),
        ("wrong_shape", "inputs[0].shape"),
        ("not_a_number", "not finite"),
    ] {
        let message = found[what][1].as_str().unwrap();
        assert!(message.contains(words), "{what}: {message}");
    }

    let image = Some(Image {
        data: std::fs::read(picture).unwrap().into(),
        blake3: String::new(),
    });
    let transport = saga_client::connect(&addresses.vit_classifier)
        .await
        .unwrap();
    let request = ClassifyRequest {
        image: image.clone(),
        ..ClassifyRequest::default()
    };
    let own = ClassifierServiceClient::new(transport)
        .classify(request)
        .await
        .unwrap();
    let rows = found["file_probabilities"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for prediction in own.into_inner().predictions {
        for row in rows {
            let probability = row[prediction.index as usize].as_f64().unwrap();
            assert!((probability - prediction.probability).abs() < 1e-6);
        }
    }
    let transport = saga_client::connect(&addresses.clip_gate).await.unwrap();
    let request = ScoreRequest {
        image,
        prompts: vec![
            "a photo of a happy face".to_owned(),
            "un visage étonné".to_owned(),
        ],
        ..ScoreRequest::default()
    };
    let own = ClipServiceClient::new(transport)
        .score(request)
        .await
        .unwrap();
    for (score, found) in own
        .into_inner()
        .scores
        .iter()
        .zip(found["cosines"].as_array().unwrap())
    {
        assert!((score.cosine - found.as_f64().unwrap()).abs() < 1e-5);
    }
    services.stop().await.unwrap();
}
