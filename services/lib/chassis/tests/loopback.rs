//! The server as a client sees it, over a real loopback connection.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{sync::Arc, time::Duration};

use common::Example;
use opentelemetry_sdk::trace::SpanData;
use saga_chassis::{Running, ServeError, Server, ServerConfig, limited, telemetry};
use saga_client::{Options, ReadyError, connect, wait_until_ready};
use saga_proto::model::v1::{
    ListModelsRequest, LoadModelRequest, UnloadModelRequest,
    model_service_client::ModelServiceClient, model_service_server::ModelServiceServer,
};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tracing::Instrument as _;

const SERVICE: &str = "saga.model.v1.ModelService";

async fn start(config: &ServerConfig, example: &Arc<Example>, stop: &CancellationToken) -> Running {
    let server = Server::bind("example", config).await.unwrap();
    let service = limited!(ModelServiceServer::from_arc(example.clone()), config);
    server.add_service(service).start(stop.clone()).unwrap()
}

async fn client(running: &Running) -> ModelServiceClient<saga_client::Transport> {
    ModelServiceClient::new(connect(&running.addr.to_string()).await.unwrap())
}

fn span<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    spans
        .iter()
        .find(|span| span.name == name)
        .unwrap_or_else(|| panic!("no span {name} in {spans:?}"))
}

#[tokio::test]
async fn a_span_in_the_client_is_the_parent_of_the_servers_span() {
    let (dispatch, exporter) = telemetry::in_memory("test");
    let _guard = tracing::dispatcher::set_default(&dispatch);
    let running = start(
        &ServerConfig::default(),
        &Default::default(),
        &CancellationToken::new(),
    )
    .await;
    let mut client = client(&running).await;
    let request = client.list_models(ListModelsRequest {});
    request
        .instrument(tracing::info_span!("caller"))
        .await
        .unwrap();
    let failed = client.load_model(LoadModelRequest::default());
    failed
        .instrument(tracing::info_span!("caller of a fault"))
        .await
        .unwrap_err();

    let spans = exporter.get_finished_spans().unwrap();
    let (caller, server, work) = (
        span(&spans, "caller"),
        span(&spans, "saga.model.v1.ModelService/ListModels"),
        span(&spans, "work"),
    );
    assert_eq!(server.parent_span_id, caller.span_context.span_id());
    assert_eq!(work.parent_span_id, server.span_context.span_id());
    assert_eq!(work.span_context.trace_id(), caller.span_context.trace_id());
    assert_eq!(server.span_kind, opentelemetry::trace::SpanKind::Server);
    assert_eq!(attribute(server, "rpc.grpc.status_code"), "0");
    assert_eq!(attribute(server, "rpc.method"), "ListModels");
    let fault = span(&spans, "saga.model.v1.ModelService/LoadModel");
    assert_eq!(attribute(fault, "rpc.grpc.status_code"), "13");
    assert_eq!(fault.status, opentelemetry::trace::Status::error(""));
}

fn attribute(span: &SpanData, key: &str) -> String {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == key);
    found
        .map(|attribute| attribute.value.to_string())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_server_is_not_serving_until_it_is_ready_and_when_it_drains() {
    let stop = CancellationToken::new();
    let running = start(&ServerConfig::default(), &Default::default(), &stop).await;
    let address = running.addr.to_string();
    let early = wait_until_ready(&address, SERVICE, Duration::from_millis(80))
        .await
        .unwrap_err();
    assert!(early.to_string().contains("NOT_SERVING"), "{early}");
    running.readiness.set_ready(true);
    wait_until_ready(&address, SERVICE, Duration::from_secs(5))
        .await
        .unwrap();
    wait_until_ready(&address, "", Duration::from_secs(5))
        .await
        .unwrap();
    let other = wait_until_ready(
        &address,
        "saga.other.v1.OtherService",
        Duration::from_secs(5),
    )
    .await;
    assert!(
        matches!(other, Err(ReadyError::UnknownService { .. })),
        "{other:?}"
    );
    stop.cancel();
    running.wait().await.unwrap();
}

#[tokio::test]
async fn waiting_covers_a_server_that_starts_later() {
    let config = ServerConfig::default();
    let server = Server::bind("example", &config).await.unwrap();
    let address = server.local_addr().to_string();
    drop(server);
    let config = ServerConfig {
        listen: address.parse().unwrap(),
        ..config
    };
    let (example, stop) = Default::default();
    let (ready, running) = tokio::join!(
        wait_until_ready(&address, SERVICE, Duration::from_secs(10)),
        async {
            tokio::task::yield_now().await;
            let running = start(&config, &example, &stop).await;
            running.readiness.set_ready(true);
            running
        }
    );
    ready.unwrap();
    drop(running);
}

#[tokio::test]
async fn a_stop_lets_a_call_in_flight_finish() {
    let (example, stop): (Arc<Example>, _) = (Default::default(), CancellationToken::new());
    let running = start(&ServerConfig::default(), &example, &stop).await;
    let mut client = client(&running).await;
    let call =
        tokio::spawn(async move { client.unload_model(UnloadModelRequest::default()).await });
    example.entered.notified().await;
    stop.cancel();
    example.release.notify_one();
    call.await.unwrap().unwrap();
    running.wait().await.unwrap();
}

#[tokio::test]
async fn a_drain_has_a_deadline() {
    let config = ServerConfig {
        drain_seconds: 0,
        ..ServerConfig::default()
    };
    let (example, stop): (Arc<Example>, _) = (Default::default(), CancellationToken::new());
    let running = start(&config, &example, &stop).await;
    let mut client = client(&running).await;
    let call =
        tokio::spawn(async move { client.unload_model(UnloadModelRequest::default()).await });
    example.entered.notified().await;
    stop.cancel();
    assert!(matches!(
        running.wait().await,
        Err(ServeError::Drain {
            service: "example",
            seconds: 0
        })
    ));
    call.abort();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = Server::bind("first", &ServerConfig::default())
        .await
        .unwrap();
    let config = ServerConfig {
        listen: first.local_addr(),
        ..ServerConfig::default()
    };
    let error = Server::bind("second", &config)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains(&first.local_addr().to_string()) && error.contains("second"),
        "{error}"
    );
}

#[tokio::test]
async fn an_address_nobody_listens_on_is_named() {
    let server = Server::bind("gone", &ServerConfig::default())
        .await
        .unwrap();
    let address = server.local_addr().to_string();
    drop(server);
    let error = connect(&address).await.unwrap_err().to_string();
    assert!(
        error.contains(&format!("nobody listens on {address}")),
        "{error}"
    );
    for address in ["", "no port", "localhost", "http://localhost"] {
        let error = connect(address).await.unwrap_err().to_string();
        assert!(error.contains("no address of a service"), "{error}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_except_by_health() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    let config = ServerConfig {
        token_file: file.path().to_owned(),
        ..ServerConfig::default()
    };
    let running = start(&config, &Default::default(), &CancellationToken::new()).await;
    running.readiness.set_ready(true);
    let address = running.addr.to_string();
    wait_until_ready(&address, SERVICE, Duration::from_secs(5))
        .await
        .unwrap();
    for (token, expected) in [
        (None, Code::Unauthenticated),
        (Some("wrong!"), Code::Unauthenticated),
        (Some("secret"), Code::Ok),
    ] {
        let options = Options {
            token: token.map(str::to_owned),
            ..Options::default()
        };
        let mut client = ModelServiceClient::new(options.connect(&address).await.unwrap());
        let answer = client.list_models(ListModelsRequest {}).await;
        assert_eq!(
            answer.err().map_or(Code::Ok, |status| status.code()),
            expected
        );
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_with_the_limit() {
    let config = ServerConfig {
        max_message_bytes: 1000,
        ..ServerConfig::default()
    };
    let running = start(&config, &Default::default(), &CancellationToken::new()).await;
    let request = UnloadModelRequest {
        name: "x".repeat(2000),
    };
    let status = client(&running)
        .await
        .unload_model(request)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("1000"), "{status}");
}

#[tokio::test]
async fn tls_files_must_be_whole() {
    let config = ServerConfig {
        tls_key: "key.pem".into(),
        ..ServerConfig::default()
    };
    assert!(matches!(
        Server::bind("example", &config).await,
        Err(ServeError::IncompleteTls)
    ));
    let config = ServerConfig {
        tls_certificate: "/no/such.pem".into(),
        ..config
    };
    let error = Server::bind("example", &config)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("server.tls_certificate") && error.contains("/no/such.pem"),
        "{error}"
    );
}
