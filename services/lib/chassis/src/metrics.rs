//! `GET /metrics` over HTTP, for Prometheus: plain text without TLS or token, so it belongs on loopback or a private
//! network.

use std::{convert::Infallible, io, net::SocketAddr};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use saga_metrics::{CONTENT_TYPE, Metrics};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    body::Body,
    transport::{Server as Transport, server::TcpIncoming},
};

/// Where the metrics are.
pub const PATH: &str = "/metrics";

/// Answers scrapes until `stop` is cancelled. The transport is the one of gRPC, which takes HTTP/1 where it is told to.
pub(crate) async fn serve(listener: TcpListener, metrics: Metrics, stop: CancellationToken) {
    let scrape = move |request: Request<Body>| {
        let response = answer(&metrics, request.method(), request.uri().path());
        std::future::ready(Ok::<_, Infallible>(response))
    };
    let served = Transport::builder()
        .accept_http1(true)
        .serve_with_incoming_shutdown(
            tower::service_fn(scrape),
            TcpIncoming::from(listener),
            stop.cancelled_owned(),
        )
        .await;
    if let Err(error) = served {
        tracing::warn!(%error, "metrics are not served any more");
    }
}

/// One request over HTTP/1.1 and its whole answer, head and body, for tests: `scrape(address, "GET /metrics")`.
///
/// # Errors
/// Nobody who listens there, or an answer that is no text.
pub async fn scrape(address: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn answer(metrics: &Metrics, method: &Method, path: &str) -> Response<Body> {
    if path != PATH {
        return refusal(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    if method != Method::GET && method != Method::HEAD {
        let mut refused = refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET is served\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(header::ALLOW, allowed);
        return refused;
    }
    match metrics.encode() {
        Ok(text) => response(StatusCode::OK, CONTENT_TYPE, text),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refusal(status: StatusCode, why: &str) -> Response<Body> {
    response(status, "text/plain; charset=utf-8", why.to_owned())
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(text));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
