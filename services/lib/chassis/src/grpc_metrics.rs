//! The layer that counts and times the calls of a server, beside [`TraceContextLayer`](crate::propagation::TraceContextLayer).
//!
//! A call lasts until its status has been given: with the headers, or in the trailers that end a streamed answer. Only
//! methods of the contract that the server has make series; all other paths count as service and method "unknown". Health
//! checks and reflection are not counted.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::{Message as _, bytes::Bytes};
use prost_types::FileDescriptorSet;
use saga_metrics::{GrpcMetrics, GrpcOutcome};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

/// Adds [`Measured`] to a server.
#[derive(Debug, Clone)]
pub(crate) struct GrpcMetricsLayer {
    metrics: GrpcMetrics,
    methods: Arc<HashMap<String, Names>>,
    unknown: Names,
}

/// Service and method.
type Names = (Arc<str>, Arc<str>);

impl GrpcMetricsLayer {
    /// Counts calls of the services that `serves` names.
    pub(crate) fn new(metrics: GrpcMetrics, serves: impl Fn(&str) -> bool) -> Self {
        Self {
            metrics,
            methods: Arc::new(methods(serves)),
            unknown: ("unknown".into(), "unknown".into()),
        }
    }

    fn arrived(&self, path: &str) -> Option<GrpcOutcome> {
        if path.starts_with("/grpc.") {
            return None;
        }
        let (service, method) = self.methods.get(path).unwrap_or(&self.unknown).clone();
        Some(self.metrics.arrived(service, method))
    }
}

/// Path to names, of the methods in the contract's descriptors.
fn methods(serves: impl Fn(&str) -> bool) -> HashMap<String, Names> {
    let mut methods = HashMap::new();
    // The same bytes are served by reflection, which refuses to start where they are broken.
    let contract = FileDescriptorSet::decode(saga_proto::FILE_DESCRIPTOR_SET).unwrap_or_default();
    for file in &contract.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            if !serves(&name) {
                continue;
            }
            let name: Arc<str> = name.into();
            for method in &service.method {
                let path = format!("/{name}/{}", method.name());
                methods.insert(path, (Arc::clone(&name), method.name().into()));
            }
        }
    }
    methods
}

impl<S> Layer<S> for GrpcMetricsLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let layer = self.clone();
        Measured { inner, layer }
    }
}

/// Counts and times each call.
#[derive(Debug, Clone)]
pub(crate) struct Measured<S> {
    inner: S,
    layer: GrpcMetricsLayer,
}

impl<S> Service<Request<Body>> for Measured<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut outcome = self.layer.arrived(request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            settle(&mut outcome, response.headers());
            let measured = |inner| Body::new(MeasuredBody { inner, outcome });
            Ok(response.map(measured))
        })
    }
}

/// Counts the call where `headers` (or trailers) carry its status.
fn settle(outcome: &mut Option<GrpcOutcome>, headers: &HeaderMap) {
    if let Some(status) = Status::from_header_map(headers)
        && let Some(mut outcome) = outcome.take()
    {
        outcome.answered(code_name(status.code()));
    }
}

/// As the protocol's specification writes them.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Waits for the status in the trailers; a body dropped before that is a call that was cancelled.
struct MeasuredBody {
    inner: Body,
    outcome: Option<GrpcOutcome>,
}

impl HttpBody for MeasuredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            settle(&mut this.outcome, trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
