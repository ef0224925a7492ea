//! The service over real gRPC: the gate contract, and what is its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use quality_gate::Config;
use saga_client::conformance::{self, Fixtures};
use saga_client::{Transport, connect};
use saga_imaging::{Filter, Rgb, RgbImage, encode_jpeg, resize};
use saga_proto::gate::v1::gate_service_client::GateServiceClient;
use saga_proto::gate::v1::{EvaluateRequest, Item, Verdict};
use saga_proto::r#type::v1::Image;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// A service on a free port, which stops with its test.
struct Service {
    address: String,
    transport: Transport,
    _shutdown: tokio_util::sync::DropGuard,
}

async fn service() -> Service {
    start(Config::default()).await
}

async fn start(mut config: Config) -> Service {
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.work.workers = 2;
    let shutdown = CancellationToken::new();
    let running = quality_gate::start(config, shutdown.clone()).await.unwrap();
    let address = running.addr.to_string();
    let transport = connect(&address).await.unwrap();
    Service {
        address,
        transport,
        _shutdown: shutdown.drop_guard(),
    }
}

/// Stripes and a slope, sharp at the edges.
fn scene(side: u32) -> RgbImage {
    RgbImage::from_fn(side, side, |x, y| {
        let stripe = (x * 12 / side % 2 * 120) as u8;
        Rgb([stripe, (y * 200 / side) as u8, stripe / 2 + 60])
    })
}

async fn evaluate(
    service: &Service,
    candidate: &[u8],
    min: Option<f64>,
) -> Result<Verdict, Status> {
    let item = Item {
        candidate_id: "c".to_owned(),
        candidate: Some(Image {
            data: candidate.to_vec().into(),
            blake3: String::new(),
        }),
        thresholds: min.map(|min| ("min".to_owned(), min)).into_iter().collect(),
        ..Item::default()
    };
    let mut gate = GateServiceClient::new(service.transport.clone());
    let answer = gate.evaluate(EvaluateRequest { item: Some(item) }).await?;
    Ok(answer.into_inner().verdict.unwrap())
}

#[tokio::test]
async fn it_keeps_the_gate_contract() {
    let service = service().await;
    let fixtures = Fixtures {
        source: encode_jpeg(&scene(96), 92).unwrap().into(),
        candidate: encode_jpeg(&scene(128), 92).unwrap().into(),
        target_label: "happy".to_owned(),
        prompt: "a photo of a happy face".to_owned(),
    };
    let report = conformance::check(&service.address, &fixtures)
        .await
        .unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.gate, "quality");
    assert!(report.checks.len() >= 20, "{report}");
}

#[tokio::test]
async fn the_sharp_pass_and_the_blurred_and_the_small_do_not() {
    let service = service().await;
    let sharp = scene(160);
    let blurred = resize(
        &resize(&sharp, 10, 10, Filter::Bilinear),
        160,
        160,
        Filter::Bicubic,
    );
    let flat = RgbImage::from_pixel(160, 160, Rgb([90; 3]));
    let low = RgbImage::from_fn(400, 47, |x, y| *scene(160).get_pixel(x % 160, y));
    for (picture, reason) in [
        (&sharp, "ACCEPTED"),
        (&blurred, "BELOW_MIN"),
        (&flat, "BELOW_MIN"),
        (&low, "TOO_SMALL"),
    ] {
        let file = encode_jpeg(picture, 92).unwrap();
        let verdict = evaluate(&service, &file, None).await.unwrap();
        assert_eq!(verdict.reason, reason, "{verdict:?}");
        assert_eq!(verdict.accepted, reason == "ACCEPTED");
        let size = (f64::from(picture.width()), f64::from(picture.height()));
        assert_eq!((verdict.details["width"], verdict.details["height"]), size);
    }
}

#[tokio::test]
async fn items_choose_how_sharp() {
    let service = service().await;
    let file = encode_jpeg(&scene(160), 92).unwrap();
    let score = evaluate(&service, &file, None).await.unwrap().score;
    let reason = async |min| {
        evaluate(&service, &file, Some(min))
            .await
            .map(|verdict| verdict.reason)
    };
    assert_eq!(reason(score).await.unwrap(), "ACCEPTED");
    assert_eq!(reason(score + 1.0).await.unwrap(), "BELOW_MIN");
    let refused = reason(-1.0).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("0 to 1040400"), "{refused}");
}

#[tokio::test]
async fn where_faces_are_counted_a_scene_without_one_is_rejected() {
    let mut config = Config::default();
    config.gate.faces = 1;
    let service = start(config).await;
    let file = encode_jpeg(&scene(160), 92).unwrap();
    let verdict = evaluate(&service, &file, None).await.unwrap();
    assert_eq!(
        (verdict.reason.as_str(), verdict.accepted),
        ("NO_FACE", false)
    );
    assert_eq!(verdict.details["faces"], 0.0);
}
