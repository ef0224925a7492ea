//! Adds the W3C trace context of the current span, the bearer token and the priority to each call.

use opentelemetry::propagation::{Injector, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue},
    service::Interceptor,
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::Priority;

/// The interceptor of a [`Transport`](crate::Transport).
#[derive(Debug, Clone, Default)]
pub struct CallContext {
    authorization: Option<MetadataValue<Ascii>>,
    priority: Priority,
}

impl CallContext {
    /// # Errors
    /// A token with characters that a header cannot have.
    pub(crate) fn new(token: Option<&str>, priority: Priority) -> Result<Self, String> {
        let authorization = token
            .map(|token| format!("Bearer {}", token.trim()).parse())
            .transpose()
            .map_err(|_| "the token has characters that a header cannot have".to_owned())?;
        Ok(Self {
            authorization,
            priority,
        })
    }
}

impl Interceptor for CallContext {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", authorization.clone());
        }
        self.priority.mark_unstated(request.metadata_mut());
        let context = tracing::Span::current().context();
        TraceContextPropagator::new()
            .inject_context(&context, &mut Metadata(request.metadata_mut()));
        Ok(request)
    }
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}
