//! What the real service's metrics say of the items it was sent, over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::future::join_all;
use saga_chassis::{Running, metrics::scrape};
use saga_client::connect;
use saga_imaging::{Rgb, RgbImage, encode_jpeg};
use saga_proto::gate::v1::gate_service_client::GateServiceClient;
use saga_proto::gate::v1::{EvaluateRequest, EvaluateStreamRequest, Item};
use saga_proto::r#type::v1::Image;
use ssim_gate::Config;
use tokio_util::sync::CancellationToken;
use tonic::Code;

async fn service(queue_capacity: usize) -> Running {
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.server.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
    config.work.workers = 1;
    config.work.queue_capacity = queue_capacity;
    ssim_gate::start(config, CancellationToken::new())
        .await
        .unwrap()
}

async fn client(running: &Running) -> GateServiceClient<saga_client::Transport> {
    GateServiceClient::new(connect(&running.addr.to_string()).await.unwrap())
}

async fn metrics(running: &Running) -> String {
    let address = running.metrics_addr.unwrap();
    scrape(address, "GET /metrics").await.unwrap()
}

/// The figure of `series`, exactly as it is labelled.
fn figure(metrics: &str, series: &str) -> f64 {
    let figure = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    let found = metrics.lines().find_map(figure);
    found.unwrap_or_else(|| panic!("no {series} in {metrics}"))
}

fn item(side: u32, candidate: Option<&[u8]>) -> Option<Item> {
    let picture = RgbImage::from_fn(side, side, |x, y| Rgb([x as u8, y as u8, 90]));
    let source = encode_jpeg(&picture, 92).unwrap();
    let image = |data: &[u8]| {
        Some(Image {
            data: data.to_vec().into(),
            blake3: String::new(),
        })
    };
    Some(Item {
        candidate_id: "c".to_owned(),
        candidate: image(candidate.unwrap_or(&source)),
        source: image(&source),
        ..Item::default()
    })
}

#[tokio::test]
async fn every_item_is_counted_once_by_every_instrument() {
    let (running, other) = (service(64).await, service(64).await);
    let mut client = client(&running).await;
    for _ in 0..3 {
        let item = item(48, None);
        client.evaluate(EvaluateRequest { item }).await.unwrap();
    }
    let item_without_image = item(48, Some(b"text"));
    let refused = client.evaluate(EvaluateRequest {
        item: item_without_image,
    });
    assert_eq!(refused.await.unwrap_err().code(), Code::InvalidArgument);
    // What never reaches the queue is no item of the work.
    let refused = client.evaluate(EvaluateRequest { item: None });
    refused.await.unwrap_err();
    let stream = (0..4).map(|sequence| EvaluateStreamRequest {
        sequence,
        item: item(48, None),
    });
    let answers = client.evaluate_stream(futures::stream::iter(stream)).await;
    let mut answers = answers.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}

    let shown = metrics(&running).await;
    let ssim = |name: &str| figure(&shown, &format!("{name}{{work=\"ssim\"}}"));
    for name in [
        "saga_computed_total",
        "saga_queue_seconds_count",
        "saga_compute_seconds_count",
        "saga_request_seconds_count",
        "saga_batch_size_sum",
        "saga_batch_size_count",
    ] {
        assert_eq!(ssim(name), 8.0, "{name}");
    }
    assert_eq!(ssim("saga_failed_total"), 1.0);
    assert_eq!(ssim("saga_decode_seconds_count"), 7.0);
    assert!(ssim("saga_request_seconds_sum") >= ssim("saga_decode_seconds_sum"));
    assert_eq!(ssim("saga_queue_length"), 0.0);
    assert_eq!(ssim("saga_queue_capacity"), 64.0);
    assert_eq!(ssim("saga_computing"), 0.0);
    let saturation = ssim("saga_saturation");
    assert!(saturation > 0.0 && saturation <= 1.0, "{saturation}");
    for (method, code, count) in [
        ("Evaluate", "OK", 3.0),
        ("Evaluate", "INVALID_ARGUMENT", 2.0),
        ("EvaluateStream", "OK", 1.0),
    ] {
        let labels =
            format!("{{service=\"saga.gate.v1.GateService\",method=\"{method}\",code=\"{code}\"}}");
        for name in [
            "saga_grpc_requests_total",
            "saga_grpc_request_seconds_count",
        ] {
            assert_eq!(figure(&shown, &format!("{name}{labels}")), count);
        }
    }

    let quiet = metrics(&other).await;
    assert_eq!(figure(&quiet, "saga_computed_total{work=\"ssim\"}"), 0.0);
    assert!(!quiet.contains("saga.gate.v1"), "{quiet}");
}

#[tokio::test]
async fn sheds_are_counted_by_their_reason() {
    let running = service(1).await;
    let client = client(&running).await;
    let large = item(1500, None);
    let calls = (0..24).map(|_| {
        let (mut client, item) = (client.clone(), large.clone());
        async move { client.evaluate(EvaluateRequest { item }).await }
    });
    let answers = join_all(calls).await;
    let shed = answers.iter().filter(|answer| answer.is_err()).count();
    let codes = answers.iter().filter_map(|answer| answer.as_ref().err());
    assert!(
        shed > 0
            && codes
                .map(|s| s.code())
                .all(|code| code == Code::ResourceExhausted)
    );

    let shown = metrics(&running).await;
    let by = |reason: &str| {
        let series = format!("saga_shed_total{{work=\"ssim\",reason=\"{reason}\"}}");
        figure(&shown, &series) as usize
    };
    assert_eq!((by("full"), by("expired"), by("abandoned")), (shed, 0, 0));
    let computed = figure(&shown, "saga_computed_total{work=\"ssim\"}") as usize;
    assert_eq!(computed, answers.len() - shed);
}
