//! Explanations over loopback, by a tiny model of random weights.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{LABELS, empty, load, png, raw, write_model};
use futures::TryStreamExt as _;
use saga_chassis::status::reason;
use saga_client::Transport;
use saga_proto::{
    classifier::v1::{
        ClassifyRequest, ExplainRequest, ExplainResponse, Explanation, ExplanationMethod as Name,
        classifier_service_client::ClassifierServiceClient, explain_response::Outcome,
        explainer_service_client::ExplainerServiceClient,
    },
    r#type::v1::Image,
};
use tonic::{Code, IntoRequest, Request, Status};

const ALL: [Name; 5] = [
    Name::GradCam,
    Name::GradCamPlusPlus,
    Name::AttentionRollout,
    Name::KernelShap,
    Name::Lime,
];

fn about(images: Vec<Image>, methods: &[Name]) -> ExplainRequest {
    ExplainRequest {
        images,
        methods: methods.iter().map(|&method| method.into()).collect(),
        samples: 64,
        ..ExplainRequest::default()
    }
}

async fn explain(
    transport: &Transport,
    request: impl IntoRequest<ExplainRequest>,
) -> Result<Vec<ExplainResponse>, Status> {
    let mut client = ExplainerServiceClient::new(transport.clone());
    let answers = client.explain(request).await?.into_inner();
    answers.try_collect().await
}

fn explanation(answer: &ExplainResponse) -> &Explanation {
    match answer.outcome.as_ref().unwrap() {
        Outcome::Explanation(explanation) => explanation,
        Outcome::Error(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn every_method_gives_maps_overlays_and_curves_and_last_the_means() {
    let (_running, transport) = empty().await;
    let _model = load(&transport, "baseline", 1).await;
    let request = ExplainRequest {
        label: LABELS[2].to_owned(),
        with_overlays: true,
        with_curves: true,
        ..about(vec![png(1), raw(b"no image".to_vec()), png(2)], &ALL)
    };
    let answers = explain(&transport, request.clone()).await.unwrap();
    let indices: Vec<_> = answers.iter().map(|answer| answer.index).collect();
    assert_eq!(indices, [Some(0), Some(1), Some(2), None]);
    let Some(Outcome::Error(error)) = &answers[1].outcome else {
        panic!("no image was explained");
    };
    assert!(error.message.starts_with("images[1].data"), "{error:?}");
    let [first, second, mean] = [0, 2, 3].map(|index| explanation(&answers[index]));
    assert_eq!([first.images, second.images, mean.images], [1, 1, 2]);
    for explained in [first, second, mean] {
        assert_eq!(explained.label, LABELS[2]);
        assert_eq!(explained.model.as_ref().unwrap().name, "baseline");
        assert!(explained.maps.iter().map(|map| map.method()).eq(ALL));
        for map in &explained.maps {
            assert_eq!((map.height, map.width, map.values.len()), (16, 16, 256));
            assert!(map.overlay.starts_with(b"\x89PNG"));
            let curves = map.curves.as_ref().unwrap();
            assert_eq!((curves.deletion.len(), curves.insertion.len()), (33, 33));
            // Both start or end with the whole image.
            let whole = f64::from(curves.deletion[0]);
            assert!((whole - explained.probability).abs() < 1e-5);
            assert!((whole - f64::from(curves.insertion[32])).abs() < 1e-5);
        }
    }
    for ((one, other), mean) in first.maps.iter().zip(&second.maps).zip(&mean.maps) {
        let pairs = one.values.iter().zip(&other.values).zip(&mean.values);
        for ((one, other), mean) in pairs {
            assert!(((one + other) / 2.0 - mean).abs() < 1e-5);
        }
    }
    // The masks are drawn from the seed.
    assert_eq!(explain(&transport, request).await.unwrap(), answers);
}

#[tokio::test]
async fn without_a_label_it_is_what_the_service_answers() {
    let (_running, transport) = empty().await;
    let _model = load(&transport, "baseline", 1).await;
    let request = ClassifyRequest {
        image: Some(png(3)),
        top_k: 1,
        ..ClassifyRequest::default()
    };
    let mut classifier = ClassifierServiceClient::new(transport.clone());
    let answer = classifier.classify(request).await.unwrap().into_inner();
    let explained = explain(&transport, about(vec![png(3)], &[Name::GradCam]))
        .await
        .unwrap();
    assert_eq!(explained.len(), 1, "no means of one image");
    let explained = explanation(&explained[0]);
    assert_eq!(explained.label, answer.predictions[0].label);
    assert!((explained.probability - answer.predictions[0].probability).abs() < 1e-5);
    let map = &explained.maps[0];
    assert!(map.overlay.is_empty() && map.curves.is_none());
}

#[tokio::test]
async fn bad_requests_are_refused_by_name() {
    let (_running, transport) = empty().await;
    let _model = load(&transport, "baseline", 1).await;
    let good = about(vec![png(1)], &[Name::Lime]);
    let cases = [
        ("images", about(vec![], &[Name::Lime])),
        ("images", about(vec![png(1); 257], &[Name::Lime])),
        ("methods", about(vec![png(1)], &[])),
        ("methods", about(vec![png(1)], &[Name::Unspecified])),
        ("methods", about(vec![png(1)], &[Name::Lime, Name::Lime])),
        (
            "methods",
            ExplainRequest {
                methods: vec![77],
                ..good.clone()
            },
        ),
        (
            "label",
            ExplainRequest {
                label: "joy".to_owned(),
                ..good.clone()
            },
        ),
        (
            "samples",
            ExplainRequest {
                samples: 10_001,
                ..good.clone()
            },
        ),
    ];
    for (field, request) in cases {
        let status = explain(&transport, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().starts_with(field), "{status}");
    }
    let other = ExplainRequest {
        model: "other".to_owned(),
        ..good
    };
    let status = explain(&transport, other).await.unwrap_err();
    assert_eq!(reason(&status).as_deref(), Some("MODEL_UNKNOWN"));
}

#[tokio::test]
async fn a_model_whose_files_changed_is_not_explained_as_the_one_served() {
    let (_running, transport) = empty().await;
    let model = load(&transport, "baseline", 1).await;
    write_model(model.path(), 2);
    let status = explain(&transport, about(vec![png(1)], &[Name::GradCam]))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status).as_deref(), Some("MODEL_CHANGED"));
    assert!(status.message().contains("load it anew"), "{status}");
}

#[tokio::test]
async fn a_deadline_ends_the_work() {
    let (_running, transport) = empty().await;
    let _model = load(&transport, "baseline", 1).await;
    let mut request = Request::new(ExplainRequest {
        samples: 10_000,
        ..about(vec![png(1); 64], &[Name::Lime])
    });
    request.set_timeout(Duration::from_millis(300));
    let refused = explain(&transport, request).await;
    let late = |status: &Status| matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
    assert!(refused.as_ref().is_err_and(late), "{refused:?}");
    // The thread is free for the next caller at once, not after 64 images.
    let next = about(vec![png(1)], &[Name::GradCam]);
    assert_eq!(explain(&transport, next).await.unwrap().len(), 1);
}
