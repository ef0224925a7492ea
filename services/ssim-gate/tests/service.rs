//! The service over real gRPC: the gate contract, and what is its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use saga_client::conformance::{self, Fixtures};
use saga_client::{Options, Priority, Transport, connect};
use saga_imaging::{
    DecodeLimits, Rgb, RgbImage, blake3_hex, decode, encode_jpeg, grey, resize, ssim,
};
use saga_proto::gate::v1::gate_service_client::GateServiceClient;
use saga_proto::gate::v1::{EvaluateRequest, EvaluateStreamRequest, Item, Verdict};
use saga_proto::ssim::v1::CompareRequest;
use saga_proto::ssim::v1::ssim_service_client::SsimServiceClient;
use saga_proto::r#type::v1::Image;
use ssim_gate::Config;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

/// A service on a free port, which stops with its test.
struct Service {
    address: String,
    transport: Transport,
    _shutdown: tokio_util::sync::DropGuard,
}

async fn service(change: impl FnOnce(&mut Config)) -> Service {
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.work.workers = 2;
    change(&mut config);
    let shutdown = CancellationToken::new();
    let running = ssim_gate::start(config, shutdown.clone()).await.unwrap();
    let address = running.addr.to_string();
    let transport = connect(&address).await.unwrap();
    Service {
        address,
        transport,
        _shutdown: shutdown.drop_guard(),
    }
}

/// A chequered gradient; `shift` moves its disc, which is what an edit would change.
fn scene(shift: i64) -> RgbImage {
    RgbImage::from_fn(64, 48, |x, y| {
        let (dx, dy) = (i64::from(x) - 24 - shift, i64::from(y) - 24);
        let chequer = ((x / 8 + y / 8) % 2 * 60) as u8;
        if dx * dx + dy * dy < 150 {
            Rgb([230, 60, 40])
        } else {
            Rgb([(x * 3) as u8, chequer, (y * 4) as u8])
        }
    })
}

fn jpeg(picture: &RgbImage) -> Vec<u8> {
    encode_jpeg(picture, 92).unwrap()
}

fn image(data: Vec<u8>) -> Option<Image> {
    Some(Image {
        data: data.into(),
        blake3: String::new(),
    })
}

async fn evaluate(
    service: &Service,
    source: Vec<u8>,
    candidate: Vec<u8>,
) -> Result<Verdict, Status> {
    let item = Item {
        candidate_id: "c".to_owned(),
        candidate: image(candidate),
        source: image(source),
        ..Item::default()
    };
    let mut gate = GateServiceClient::new(service.transport.clone());
    Ok(gate
        .evaluate(EvaluateRequest { item: Some(item) })
        .await?
        .into_inner()
        .verdict
        .unwrap())
}

#[tokio::test]
async fn it_keeps_the_gate_contract() {
    let service = service(|_| ()).await;
    let fixtures = Fixtures {
        source: jpeg(&scene(0)).into(),
        candidate: jpeg(&scene(8)).into(),
        target_label: "happy".to_owned(),
        prompt: "a photo of a happy face".to_owned(),
    };
    let report = conformance::check(&service.address, &fixtures)
        .await
        .unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.gate, "ssim");
    assert!(report.checks.len() > 25, "{report}");
}

#[tokio::test]
async fn edits_pass_and_copies_and_strangers_do_not() {
    let service = service(|_| ()).await;
    let source = jpeg(&scene(0));
    let stranger = RgbImage::from_fn(64, 48, |x, y| Rgb([((x * 37 + y * 91) % 251) as u8; 3]));
    for (candidate, reason) in [
        (source.clone(), "ABOVE_MAX"),
        (jpeg(&scene(8)), "ACCEPTED"),
        (jpeg(&stranger), "BELOW_MIN"),
    ] {
        let verdict = evaluate(&service, source.clone(), candidate).await.unwrap();
        assert_eq!(verdict.reason, reason, "{verdict:?}");
        assert_eq!(
            (verdict.threshold_min, verdict.threshold_max),
            (Some(0.35), Some(0.95))
        );
    }
}

#[tokio::test]
async fn the_score_is_the_librarys_also_for_another_size() {
    let service = service(|_| ()).await;
    let (source, same, larger) = (
        jpeg(&scene(0)),
        jpeg(&scene(5)),
        jpeg(&resize(&scene(5), 128, 96, saga_imaging::Filter::Lanczos3)),
    );
    let limits = DecodeLimits::default();
    let greys = [&source, &same].map(|file| grey(&decode(file, &limits).unwrap()));
    let verdict = evaluate(&service, source.clone(), same).await.unwrap();
    assert_eq!(verdict.score, ssim(&greys[0], &greys[1]).unwrap());
    assert_eq!(
        (verdict.details["width"], verdict.details["height"]),
        (64.0, 48.0)
    );
    let resized = evaluate(&service, source, larger).await.unwrap();
    assert!(
        (resized.score - verdict.score).abs() < 0.1,
        "{} and {}",
        resized.score,
        verdict.score
    );
}

#[tokio::test]
async fn compare_answers_at_the_references_size_and_names_bad_fields() {
    let service = service(|_| ()).await;
    let mut client = SsimServiceClient::new(service.transport.clone());
    let reference = image(jpeg(&scene(0)));
    let request = CompareRequest {
        reference: reference.clone(),
        image: reference.clone(),
        ..CompareRequest::default()
    };
    let answer = client.compare(request).await.unwrap().into_inner();
    assert_eq!((answer.ssim, answer.width, answer.height), (1.0, 64, 48));
    assert!(answer.timing.is_some());
    for (request, field) in [
        (
            CompareRequest {
                reference: reference.clone(),
                image: None,
                ..CompareRequest::default()
            },
            "image",
        ),
        (
            CompareRequest {
                reference: image(b"text".to_vec()),
                image: reference.clone(),
                ..CompareRequest::default()
            },
            "reference.data",
        ),
        (
            CompareRequest {
                reference: image(jpeg(&RgbImage::new(5, 9))),
                image: reference.clone(),
                ..CompareRequest::default()
            },
            "reference",
        ),
    ] {
        assert_eq!(
            refused_field(&client.compare(request).await.unwrap_err()),
            field
        );
    }
}

#[tokio::test]
async fn limits_are_the_configured_ones() {
    let source = jpeg(&scene(0));
    let bytes = source.len();
    let service = service(|config| {
        config.limits.max_image_bytes = bytes;
        config.limits.max_side = 64;
    })
    .await;
    assert!(
        evaluate(&service, source.clone(), source.clone())
            .await
            .is_ok()
    );
    let mut longer = source.clone();
    longer.push(0);
    let status = evaluate(&service, source.clone(), longer)
        .await
        .unwrap_err();
    assert_eq!(refused_field(&status), "item.candidate.data");
    assert!(
        status.message().contains(&format!("the limit is {bytes}")),
        "{}",
        status.message()
    );
    let status = evaluate(&service, jpeg(&RgbImage::new(65, 8)), source)
        .await
        .unwrap_err();
    assert_eq!(refused_field(&status), "item.source.data");
    assert!(status.message().contains("65x8"), "{}", status.message());
}

#[tokio::test]
async fn a_stated_hash_is_verified() {
    let service = service(|_| ()).await;
    let source = jpeg(&scene(0));
    let mut client = SsimServiceClient::new(service.transport.clone());
    let stated = |blake3: String| {
        Some(Image {
            data: source.clone().into(),
            blake3,
        })
    };
    let good = CompareRequest {
        reference: stated(blake3_hex(&source)),
        image: image(source.clone()),
        ..CompareRequest::default()
    };
    assert_eq!(client.compare(good).await.unwrap().into_inner().ssim, 1.0);
    let bad = CompareRequest {
        reference: stated(blake3_hex(b"other")),
        image: image(source.clone()),
        ..CompareRequest::default()
    };
    assert_eq!(
        refused_field(&client.compare(bad).await.unwrap_err()),
        "reference.blake3"
    );
}

#[tokio::test]
async fn calls_state_their_priority_and_a_misspelt_one_is_refused() {
    let service = service(|_| ()).await;
    let low = Options {
        priority: Priority::Low,
        ..Options::default()
    };
    let mut client = SsimServiceClient::new(low.connect(&service.address).await.unwrap());
    let request = CompareRequest {
        reference: image(jpeg(&scene(0))),
        image: image(jpeg(&scene(0))),
        with_map: false,
    };
    client.compare(request.clone()).await.unwrap();

    fn misspelt<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        let high = "high".parse().unwrap();
        request.metadata_mut().insert("saga-priority", high);
        request
    }
    let mut gate = GateServiceClient::new(service.transport.clone());
    let stream = futures::stream::iter([EvaluateStreamRequest::default()]);
    for refused in [
        client.compare(misspelt(request)).await.err(),
        gate.evaluate(misspelt(EvaluateRequest { item: None }))
            .await
            .err(),
        gate.evaluate_stream(misspelt(stream)).await.err(),
    ] {
        let status = refused.unwrap();
        assert_eq!(refused_field(&status), "saga-priority");
        assert!(status.message().contains("low or normal"), "{status}");
    }
}

fn refused_field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.get_details_bad_request().unwrap().field_violations[0]
        .field
        .clone()
}
