//! Metrics as Prometheus sees them, over a real loopback connection.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Example;
use saga_chassis::{Running, Server, ServerConfig, metrics::scrape};
use saga_client::connect;
use saga_proto::{
    gate::v1::{DescribeRequest, gate_service_client::GateServiceClient},
    model::v1::{
        ListModelsRequest, LoadModelRequest, UnloadModelRequest,
        model_service_client::ModelServiceClient, model_service_server::ModelServiceServer,
    },
};
use tokio_util::sync::CancellationToken;
use tonic::Request;

fn scraped() -> ServerConfig {
    ServerConfig {
        metrics_listen: Some("127.0.0.1:0".parse().unwrap()),
        ..ServerConfig::default()
    }
}

async fn start(config: &ServerConfig, stop: &CancellationToken) -> Running {
    let server = Server::bind("example", config).await.unwrap();
    let server = server.add_service(ModelServiceServer::new(Example::default()));
    server.start(stop.clone()).unwrap()
}

async fn get(running: &Running, request: &str) -> String {
    scrape(running.metrics_addr.unwrap(), request)
        .await
        .unwrap()
}

fn requests(method: &str, code: &str) -> String {
    format!("service=\"saga.model.v1.ModelService\",method=\"{method}\",code=\"{code}\"}}")
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code_and_only_what_the_server_knows() {
    let running = start(&scraped(), &CancellationToken::new()).await;
    let transport = connect(&running.addr.to_string()).await.unwrap();
    let mut models = ModelServiceClient::new(transport.clone());
    for _ in 0..3 {
        models.list_models(ListModelsRequest {}).await.unwrap();
    }
    let failed = models.load_model(LoadModelRequest::default()).await;
    failed.unwrap_err();
    let mut gate = GateServiceClient::new(transport);
    gate.describe(DescribeRequest {}).await.unwrap_err();

    let answer = get(&running, "GET /metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"), "{body}");
    for (labels, count) in [
        (requests("ListModels", "OK"), 3),
        (requests("LoadModel", "INTERNAL"), 1),
        (
            "service=\"unknown\",method=\"unknown\",code=\"UNIMPLEMENTED\"}".to_owned(),
            1,
        ),
    ] {
        for name in [
            "saga_grpc_requests_total",
            "saga_grpc_request_seconds_count",
        ] {
            let expected = format!("{name}{{{labels} {count}");
            assert!(
                body.lines().any(|line| line == expected),
                "{expected}\n{body}"
            );
        }
    }
    assert!(!body.contains("GateService"), "{body}");
}

#[tokio::test]
async fn a_call_that_its_caller_gave_up_is_cancelled() {
    let running = start(&scraped(), &CancellationToken::new()).await;
    let transport = connect(&running.addr.to_string()).await.unwrap();
    let mut models = ModelServiceClient::new(transport);
    let mut request = Request::new(UnloadModelRequest::default());
    request.set_timeout(std::time::Duration::from_millis(1));
    models.unload_model(request).await.unwrap_err();
    let expected = format!(
        "saga_grpc_requests_total{{{} 1",
        requests("UnloadModel", "CANCELLED")
    );
    // The server learns of it on its own time.
    while !get(&running, "GET /metrics").await.contains(&expected) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let running = start(&scraped(), &CancellationToken::new()).await;
    for (request, status) in [
        ("GET /", "404 Not Found"),
        ("GET /metrics/", "404 Not Found"),
        (
            "POST /saga.model.v1.ModelService/ListModels",
            "404 Not Found",
        ),
        ("POST /metrics", "405 Method Not Allowed"),
        ("GET /metrics?x=1", "200 OK"),
        ("HEAD /metrics", "200 OK"),
    ] {
        let answer = get(&running, request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{request}: {answer}"
        );
    }
    let head = get(&running, "HEAD /metrics").await;
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn they_are_off_by_default_and_end_with_the_server() {
    let stop = CancellationToken::new();
    let running = start(&ServerConfig::default(), &stop).await;
    assert_eq!(running.metrics_addr, None);
    let running = start(&scraped(), &stop).await;
    let address = running.metrics_addr.unwrap();
    stop.cancel();
    running.wait().await.unwrap();
    while scrape(address, "GET /metrics").await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_flag() {
    let first = start(&scraped(), &CancellationToken::new()).await;
    let config = ServerConfig {
        metrics_listen: first.metrics_addr,
        ..ServerConfig::default()
    };
    let error = Server::bind("second", &config).await.err().unwrap();
    let error = error.to_string();
    let address = first.metrics_addr.unwrap().to_string();
    assert!(
        error.contains(&address) && error.contains("--metrics-listen"),
        "{error}"
    );
}
