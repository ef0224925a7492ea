//! Logs and spans of a process.
//!
//! Spans always have trace ids, so that a trace passes through a process that exports nothing; they leave the process
//! only where a collector is configured.

use opentelemetry::{InstrumentationScope, trace::TracerProvider as _};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    trace::{InMemorySpanExporter, SdkTracerProvider, TracerProviderBuilder},
};
use tracing::{Dispatch, Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::config::{LogFormat, TelemetryConfig};

/// Sends what is left when it is dropped, at the end of the process.
#[must_use = "spans are flushed when this is dropped"]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::debug!(%error, "the last spans could not be exported");
        }
    }
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log` has no meaning.
    #[error(
        "`telemetry.log` is {directives:?}, which is neither a level nor a list of directives: {why}"
    )]
    Log {
        /// As configured.
        directives: String,
        /// From the parser.
        why: String,
    },
    /// `telemetry.otlp_endpoint` has no meaning.
    #[error("`telemetry.otlp_endpoint` is {endpoint:?}, which cannot be exported to: {why}")]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// From the exporter.
        why: String,
    },
    /// The process has a subscriber.
    #[error("telemetry was started twice in one process: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logs and spans for the whole process. Call within the asynchronous runtime, once.
///
/// # Errors
/// A filter or an endpoint that has no meaning; a second call.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let log_filter = EnvFilter::try_new(&config.log).map_err(|error| TelemetryError::Log {
        directives: config.log.clone(),
        why: error.to_string(),
    })?;
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = match config.format {
        LogFormat::Text => logs.boxed(),
        LogFormat::Json => logs.json().flatten_event(true).boxed(),
    };
    let provider = exporting(provider(service), &config.otlp_endpoint)?.build();
    Registry::default()
        .with(spans(&provider))
        .with(logs.with_filter(log_filter))
        .try_init()?;
    Ok(Telemetry { provider })
}

/// A subscriber that keeps finished spans in memory, for tests; install it with `tracing::dispatcher::set_default` on a
/// single-threaded runtime, or as the global default of a test binary.
#[must_use]
pub fn in_memory(service: &'static str) -> (Dispatch, InMemorySpanExporter) {
    let exporter = InMemorySpanExporter::default();
    let provider = provider(service)
        .with_simple_exporter(exporter.clone())
        .build();
    (
        Dispatch::new(Registry::default().with(spans(&provider))),
        exporter,
    )
}

fn provider(service: &'static str) -> TracerProviderBuilder {
    SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(service).build())
}

fn exporting(
    builder: TracerProviderBuilder,
    endpoint: &str,
) -> Result<TracerProviderBuilder, TelemetryError> {
    if endpoint.is_empty() {
        return Ok(builder);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| TelemetryError::Endpoint {
            endpoint: endpoint.to_owned(),
            why: error.to_string(),
        })?;
    Ok(builder.with_batch_exporter(exporter))
}

/// Hands `tracing` spans to OpenTelemetry.
fn spans(provider: &SdkTracerProvider) -> impl Layer<Registry> + Send + Sync + use<> {
    let tracer = provider.tracer_with_scope(InstrumentationScope::builder("saga").build());
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_filter(filter::filter_fn(is_ours))
}

/// The transport's own spans would drown ours, and exporting them would make new ones without end.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    const TRANSPORT: [&str; 6] = ["h2", "hyper", "tonic", "tower", "rustls", "opentelemetry"];
    let root = metadata
        .target()
        .split([':', '_'])
        .next()
        .unwrap_or_default();
    metadata.is_span() && *metadata.level() <= Level::INFO && !TRANSPORT.contains(&root)
}
