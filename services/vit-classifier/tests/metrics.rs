//! What the real service's metrics say of decoding, of the model's batches, and of a model that is swapped.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{load, png, raw};
use saga_chassis::{Running, metrics::scrape};
use saga_client::{Transport, limited};
use saga_proto::classifier::v1::{
    ClassifyRequest, ClassifyStreamRequest, classifier_service_client::ClassifierServiceClient,
};
use saga_proto::model::v1::{RollbackModelRequest, model_service_client::ModelServiceClient};
use saga_proto::r#type::v1::Image;
use tokio_stream::iter;
use vit_classifier::Config;

async fn figures(running: &Running) -> impl Fn(&str) -> f64 {
    let address = running.metrics_addr.unwrap();
    let metrics = scrape(address, "GET /metrics").await.unwrap();
    move |series| {
        let figure = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        let found = metrics.lines().find_map(figure);
        found.unwrap_or_else(|| panic!("no {series} in {metrics}"))
    }
}

fn request(image: Image) -> ClassifyRequest {
    ClassifyRequest {
        image: Some(image),
        ..ClassifyRequest::default()
    }
}

/// Three images one by one, nine in a stream, and one that is none.
async fn classify(transport: &Transport) {
    let mut client = limited!(ClassifierServiceClient::new(transport.clone()));
    for seed in 0..3 {
        client.classify(request(png(seed))).await.unwrap();
    }
    client.classify(request(raw(vec![1]))).await.unwrap_err();
    let items = (0..9_u8).map(|seed| ClassifyStreamRequest {
        sequence: seed.into(),
        request: Some(request(png(seed))),
    });
    let answers = client.classify_stream(iter(items)).await.unwrap();
    let mut answers = answers.into_inner();
    while answers.message().await.unwrap().is_some() {}
}

#[tokio::test]
async fn decoding_and_model_are_counted_apart_and_a_swap_loses_nothing() {
    let mut config = Config::default();
    config.server.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
    config.work.queue_capacity = 100;
    let (running, transport) = common::with(config).await;
    load(&transport, "baseline", 1).await;
    classify(&transport).await;

    let figure = figures(&running).await;
    for (work, computed, failed) in [("decode", 13.0, 1.0), ("vit", 12.0, 0.0)] {
        for name in [
            "saga_computed_total",
            "saga_queue_seconds_count",
            "saga_compute_seconds_count",
            "saga_request_seconds_count",
            "saga_batch_size_sum",
        ] {
            let series = format!("{name}{{work=\"{work}\"}}");
            assert_eq!(figure(&series), computed, "{series}");
        }
        let shed = format!("saga_shed_total{{work=\"{work}\",reason=\"full\"}}");
        assert_eq!(figure(&shed), 0.0);
        let series = format!("saga_failed_total{{work=\"{work}\"}}");
        assert_eq!(figure(&series), failed, "{series}");
    }
    assert_eq!(figure("saga_decode_seconds_count{work=\"decode\"}"), 12.0);
    assert!(figure("saga_batch_size_count{work=\"vit\"}") <= 12.0);
    // A model's answer comes after the decoding of the same item.
    let total = |work: &str| figure(&format!("saga_request_seconds_sum{{work=\"{work}\"}}"));
    assert!(total("vit") > figure("saga_decode_seconds_sum{work=\"decode\"}"));
    assert_eq!(figure("saga_queue_capacity{work=\"vit\"}"), 100.0);

    // Two models are two queues; the one that is replaced takes its queue along, and leaves its counts.
    load(&transport, "other", 2).await;
    let figure = figures(&running).await;
    assert_eq!(figure("saga_queue_capacity{work=\"vit\"}"), 200.0);
    load(&transport, "baseline", 3).await;
    classify(&transport).await;
    let figure = figures(&running).await;
    assert_eq!(figure("saga_queue_capacity{work=\"vit\"}"), 200.0);
    assert_eq!(figure("saga_computed_total{work=\"vit\"}"), 24.0);
    let loads = "saga_grpc_requests_total{service=\"saga.model.v1.ModelService\",method=\"LoadModel\",code=\"OK\"}";
    assert_eq!(figure(loads), 3.0);
    // The kept one comes back with its queue, and the other goes.
    let name = "baseline".to_owned();
    let mut models = ModelServiceClient::new(transport.clone());
    models
        .rollback_model(RollbackModelRequest { name })
        .await
        .unwrap();
    let figure = figures(&running).await;
    assert_eq!(figure("saga_queue_capacity{work=\"vit\"}"), 200.0);
}
