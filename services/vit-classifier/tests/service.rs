//! The service over loopback, with a tiny model of random weights.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{LABELS, empty, load, png, raw};
use saga_chassis::status::reason;
use saga_client::{
    Transport,
    conformance::{self, Fixtures},
    limited, wait_until_ready,
};
use saga_imaging::DecodeLimits;
use saga_models::{Checkpoint, Runtime};
use saga_proto::{
    classifier::v1::{
        ClassifyRequest, ClassifyResponse, ClassifyStreamRequest,
        classifier_service_client::ClassifierServiceClient, classify_stream_response::Outcome,
    },
    gate::v1::{EvaluateRequest, Item, gate_service_client::GateServiceClient},
    inference::{
        ModelInferRequest, ModelMetadataRequest, ServerReadyRequest,
        grpc_inference_service_client::GrpcInferenceServiceClient,
        model_infer_request::InferInputTensor,
    },
    model::v1::{RollbackModelRequest, model_service_client::ModelServiceClient},
    r#type::v1::Image,
};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use vit_classifier::Config;

async fn classify(
    transport: &Transport,
    image: Option<Image>,
    model: &str,
) -> Result<ClassifyResponse, tonic::Status> {
    let request = ClassifyRequest {
        image,
        model: model.to_owned(),
        ..ClassifyRequest::default()
    };
    limited!(ClassifierServiceClient::new(transport.clone()))
        .classify(request)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test]
async fn it_keeps_the_gate_contract() {
    let (running, transport) = empty().await;
    load(&transport, "baseline", 1).await;
    let fixtures = Fixtures {
        source: png(1).data,
        candidate: png(2).data,
        target_label: LABELS[0].to_owned(),
        prompt: "a photo of a happy face".to_owned(),
    };
    let address = running.addr.to_string();
    let report = conformance::check(&address, &fixtures).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.gate, "vit");
    assert_eq!(report.checks.len(), 21, "{report}");
}

#[tokio::test]
async fn not_ready_until_a_model_is_loaded() {
    let (running, transport) = empty().await;
    assert!(!running.readiness.is_ready());
    let status = classify(&transport, Some(png(0)), "").await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_deref()),
        (Code::FailedPrecondition, Some("MODEL_NOT_LOADED"))
    );
    load(&transport, "baseline", 1).await;
    let service = "saga.classifier.v1.ClassifierService";
    wait_until_ready(&running.addr.to_string(), service, Duration::from_secs(5))
        .await
        .unwrap();
    let answer = classify(&transport, Some(png(0)), "").await.unwrap();
    assert_eq!(answer.predictions.len(), LABELS.len());
    let sum: f64 = answer
        .predictions
        .iter()
        .map(|prediction| prediction.probability)
        .sum();
    assert!((sum - 1.0).abs() < 1e-5);
    assert_eq!(answer.model.unwrap().id, "vit-patch8-16");
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_spoils_nothing_else() {
    let (_running, transport) = empty().await;
    load(&transport, "baseline", 1).await;
    let bomb = [
        &b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0"[..],
        &[0; 4],
    ]
    .concat();
    let cases = [
        None,
        Some(raw(vec![])),
        Some(raw(b"plain text".to_vec())),
        Some(raw(bomb)),
    ];
    for image in cases {
        let status = classify(&transport, image, "").await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().starts_with("image"), "{status}");
    }
    let status = classify(&transport, Some(png(0)), "other")
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_deref()),
        (Code::NotFound, Some("MODEL_UNKNOWN"))
    );
    let status = classify(&transport, Some(raw(vec![0; 40 << 20])), "")
        .await
        .unwrap_err();
    assert!(status.message().contains("33554432"), "{status}");
    let item = Item {
        candidate: Some(png(0)),
        target_label: "joy".to_owned(),
        ..Item::default()
    };
    let request = EvaluateRequest { item: Some(item) };
    let status = GateServiceClient::new(transport.clone())
        .evaluate(request)
        .await
        .unwrap_err();
    assert!(
        status.message().contains("item.target_label")
            && status.message().contains("happy, sad, fear"),
        "{status}"
    );
    classify(&transport, Some(png(0)), "").await.unwrap();
}

#[tokio::test]
async fn features_are_those_of_the_model_and_sent_where_they_are_asked_for() {
    let (_running, transport) = empty().await;
    let folder = load(&transport, "baseline", 1).await;
    let request = ClassifyRequest {
        image: Some(png(3)),
        with_features: true,
        ..ClassifyRequest::default()
    };
    let mut client = ClassifierServiceClient::new(transport.clone());
    let found = client.classify(request).await.unwrap().into_inner();
    let checkpoint = Checkpoint::read(folder.path()).unwrap();
    let picture = saga_imaging::decode(&png(3).data, &DecodeLimits::default()).unwrap();
    let preprocessor = checkpoint.preprocessor().unwrap();
    let pixels = preprocessor.batch(&[preprocessor.pixel_values(&picture)]);
    let model = saga_models::Classifier::from_checkpoint(checkpoint, Runtime::REFERENCE).unwrap();
    let (_, expected) = model.forward_with_features(&pixels.unwrap()).unwrap();
    let expected = Vec::<f32>::try_from(expected.view([-1])).unwrap();
    assert_eq!((found.features.len(), expected.len()), (32, 32));
    for (found, expected) in found.features.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
    }
    let plain = classify(&transport, Some(png(3)), "").await.unwrap();
    assert!(plain.features.is_empty());
    assert_eq!(plain.predictions, found.predictions);
}

#[tokio::test]
async fn a_batch_answers_as_its_items_alone_and_the_gate_as_the_classifier() {
    let (_running, transport) = empty().await;
    load(&transport, "baseline", 1).await;
    let items = (0..40_u8).map(|seed| ClassifyStreamRequest {
        sequence: seed.into(),
        request: Some(ClassifyRequest {
            image: Some(if seed == 7 { raw(vec![1]) } else { png(seed) }),
            ..ClassifyRequest::default()
        }),
    });
    let mut client = ClassifierServiceClient::new(transport.clone());
    let mut answers = client
        .classify_stream(tokio_stream::iter(items))
        .await
        .unwrap()
        .into_inner();
    let mut seen = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        seen += 1;
        match answer.outcome.unwrap() {
            Outcome::Error(error) => assert_eq!(
                (answer.sequence, error.code),
                (7, Code::InvalidArgument as i32)
            ),
            Outcome::Response(together) => {
                let alone = classify(&transport, Some(png(answer.sequence as u8)), "")
                    .await
                    .unwrap();
                for (a, b) in together.predictions.iter().zip(&alone.predictions) {
                    assert_eq!(a.label, b.label);
                    assert!((a.probability - b.probability).abs() < 1e-5);
                }
            }
        }
    }
    assert_eq!(seen, 40);
    let top = classify(&transport, Some(png(3)), "")
        .await
        .unwrap()
        .predictions
        .remove(0);
    let item = Item {
        candidate: Some(png(3)),
        target_label: top.label,
        ..Item::default()
    };
    let request = EvaluateRequest { item: Some(item) };
    let verdict = GateServiceClient::new(transport)
        .evaluate(request)
        .await
        .unwrap()
        .into_inner()
        .verdict
        .unwrap();
    assert!((verdict.score - top.probability).abs() < 1e-5);
    assert_eq!(
        (verdict.gate.as_str(), verdict.accepted),
        ("vit", verdict.score >= 0.65)
    );
}

fn infer_request(name: &str, datatype: &str, shape: &[i64], contents: &[u8]) -> ModelInferRequest {
    let input = InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: "vit-classifier".to_owned(),
        inputs: vec![input],
        raw_input_contents: vec![contents.to_vec().into()],
        ..ModelInferRequest::default()
    }
}

fn floats(raw: &[u8]) -> Vec<f32> {
    let (elements, _) = raw.as_chunks::<4>();
    elements.iter().copied().map(f32::from_le_bytes).collect()
}

#[tokio::test]
async fn several_instances_answer_as_one_does() {
    let mut config = Config::default();
    config.work.instances = 2;
    let (_two, two) = common::with(config).await;
    let (_one, one) = empty().await;
    for transport in [&two, &one] {
        load(transport, "baseline", 1).await;
    }
    let answers = async |transport: &Transport| {
        let calls = (0..40_u8).map(|seed| classify(transport, Some(png(seed)), ""));
        futures::future::join_all(calls).await
    };
    for (found, expected) in answers(&two).await.into_iter().zip(answers(&one).await) {
        let (found, expected) = (found.unwrap().predictions, expected.unwrap().predictions);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.label, expected.label);
            assert!((found.probability - expected.probability).abs() < 1e-6);
        }
    }
}

#[tokio::test]
async fn open_inference_gives_the_classifiers_own_probabilities() {
    let (_running, transport) = empty().await;
    let mut open = limited!(GrpcInferenceServiceClient::new(transport.clone()));
    let ready = open.server_ready(ServerReadyRequest {}).await.unwrap();
    assert!(!ready.into_inner().ready);
    load(&transport, "baseline", 1).await;
    let metadata = open
        .model_metadata(ModelMetadataRequest {
            name: "vit-classifier".to_owned(),
            version: String::new(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(metadata.versions, ["baseline"]);
    assert_eq!(metadata.inputs[0].shape, [-1, 3, 16, 16]);

    let mut files = Vec::new();
    for seed in [1, 2] {
        let file = png(seed).data;
        files.extend((file.len() as u32).to_le_bytes());
        files.extend(file);
    }
    let request = infer_request("image", "BYTES", &[2], &files);
    let answer = open.model_infer(request).await.unwrap().into_inner();
    assert_eq!(answer.model_version, "baseline");
    let names: Vec<&str> = answer.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["logits", "probabilities"]);
    assert_eq!(answer.outputs[1].shape, [2, 3]);
    let probabilities = floats(&answer.raw_output_contents[1]);
    let own = classify(&transport, Some(png(2)), "").await.unwrap();
    for prediction in own.predictions {
        let open = f64::from(probabilities[3 + prediction.index as usize]);
        assert!((open - prediction.probability).abs() < 1e-6);
    }
}

#[tokio::test]
async fn ten_thousand_items_are_answered_once_and_taken_no_faster_than_answered() {
    const ITEMS: u64 = 10_000;
    // What the service has in hand, and what the connection's windows hold of these small messages.
    const AHEAD: u64 = 3_000;
    let (_running, transport) = empty().await;
    load(&transport, "baseline", 1).await;
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    let image = png(1);
    let requests = (0..ITEMS).map(move |sequence| {
        counter.fetch_add(1, Ordering::Relaxed);
        ClassifyStreamRequest {
            sequence,
            request: Some(ClassifyRequest {
                image: Some(image.clone()),
                ..ClassifyRequest::default()
            }),
        }
    });
    let mut client = limited!(ClassifierServiceClient::new(transport));
    let answers = client.classify_stream(tokio_stream::iter(requests)).await;
    let mut answers = answers.unwrap().into_inner();
    let mut seen = vec![false; ITEMS as usize];
    for answered in 0..ITEMS {
        let ahead = taken.load(Ordering::Relaxed) - answered;
        assert!(ahead <= AHEAD, "{ahead} items ahead of {answered} answers");
        let answer = answers.message().await.unwrap().unwrap();
        assert!(
            matches!(answer.outcome, Some(Outcome::Response(_))),
            "{answer:?}"
        );
        assert!(!std::mem::replace(
            &mut seen[answer.sequence as usize],
            true
        ));
    }
    assert!(answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn swaps_and_rollbacks_lose_no_request() {
    const CALLERS: usize = 8;
    const ROUNDS: u64 = 6;
    let (_running, transport) = empty().await;
    load(&transport, "m", 1).await;
    let stop = CancellationToken::new();
    let call = |stop: CancellationToken, transport: Transport| async move {
        let mut seen = BTreeMap::<String, Vec<f64>>::new();
        while !stop.is_cancelled() {
            let answer = classify(&transport, Some(png(3)), "m").await.unwrap();
            let predictions = answer.predictions.iter();
            let probabilities: Vec<f64> = predictions
                .map(|prediction| prediction.probability)
                .collect();
            // An answer is the whole answer of the model it names.
            let revision = answer.model.unwrap().revision;
            let first = seen
                .entry(revision)
                .or_insert_with(|| probabilities.clone());
            // Batches of other sizes round otherwise.
            assert!(
                first
                    .iter()
                    .zip(&probabilities)
                    .all(|(a, b)| (a - b).abs() < 1e-5)
            );
        }
        seen
    };
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(call(stop.clone(), transport.clone())))
        .collect();
    let mut models = ModelServiceClient::new(transport.clone());
    let mut loaded = BTreeSet::new();
    for seed in 0..ROUNDS {
        load(&transport, "m", 2 + seed).await;
        let name = "m".to_owned();
        let back = models
            .rollback_model(RollbackModelRequest { name })
            .await
            .unwrap();
        let model = back.into_inner().model.unwrap();
        loaded.extend([model.version, model.previous].map(|version| version.unwrap().revision));
        // Each round is seen by requests.
        classify(&transport, Some(png(3)), "m").await.unwrap();
    }
    stop.cancel();
    for caller in callers {
        let seen = caller.await.unwrap();
        assert!(!seen.is_empty() && seen.keys().all(|revision| loaded.contains(revision)));
    }
    assert_eq!(loaded.len() as u64, 1 + ROUNDS);
}

#[tokio::test]
async fn open_inference_refuses_what_the_model_does_not_take() {
    let (_running, transport) = empty().await;
    load(&transport, "baseline", 1).await;
    let mut open = limited!(GrpcInferenceServiceClient::new(transport));
    let nan = f32::NAN.to_le_bytes().repeat(3 * 16 * 16);
    let cases = [
        (infer_request("pixels", "FP32", &[1], &[]), "inputs[0].name"),
        (
            infer_request("pixel_values", "FP32", &[1, 3, 8, 8], &[]),
            "inputs[0].shape",
        ),
        (
            infer_request("pixel_values", "FP32", &[1, 3, 16, 16], &nan),
            "inputs[0].contents",
        ),
        (
            infer_request("image", "BYTES", &[1], &[1, 0, 0, 0, 9]),
            "inputs[0].contents[0]",
        ),
    ];
    for (request, field) in cases {
        let status = open.model_infer(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().starts_with(field), "{status}");
    }
    let mut unknown = infer_request("image", "BYTES", &[1], &[]);
    unknown.model_name = "resnet".to_owned();
    let status = open.model_infer(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}
