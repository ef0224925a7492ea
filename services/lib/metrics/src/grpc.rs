//! gRPC requests by service, method and code.

use std::{fmt, sync::Arc, time::Instant};

use prometheus_client::{
    encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder},
    metrics::family::Family,
};

use crate::{Counter, Histogram};

/// The code of a request that nobody waited for to the end.
const CANCELLED: &str = "CANCELLED";

/// Counts and times the requests of a server; clones share the figures.
#[derive(Debug, Clone)]
pub struct GrpcMetrics {
    pub(crate) requests: Family<Labels, Counter>,
    pub(crate) seconds: Family<Labels, Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    service: Arc<str>,
    method: Arc<str>,
    code: &'static str,
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
        ("service", &*self.service).encode(encoder.encode_label())?;
        ("method", &*self.method).encode(encoder.encode_label())?;
        ("code", self.code).encode(encoder.encode_label())
    }
}

impl Default for GrpcMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(Histogram::seconds),
        }
    }
}

impl GrpcMetrics {
    /// A request of `method` of `service` has arrived. Give only names that the server knows: each makes a series.
    #[must_use]
    pub fn arrived(&self, service: Arc<str>, method: Arc<str>) -> GrpcOutcome {
        let labels = Labels {
            service,
            method,
            code: CANCELLED,
        };
        GrpcOutcome {
            metrics: self.clone(),
            labels,
            arrived: Instant::now(),
        }
    }
}

/// A request under way; it is counted when this is dropped.
#[derive(Debug)]
pub struct GrpcOutcome {
    metrics: GrpcMetrics,
    labels: Labels,
    arrived: Instant,
}

impl GrpcOutcome {
    /// The request was answered with `code`, as the protocol names it: "OK". Without one, it counts as CANCELLED.
    pub fn answered(&mut self, code: &'static str) {
        self.labels.code = code;
    }
}

impl Drop for GrpcOutcome {
    fn drop(&mut self) {
        let GrpcMetrics { requests, seconds } = &self.metrics;
        requests.get_or_create(&self.labels).inc();
        let seconds = seconds.get_or_create(&self.labels);
        seconds.observe(self.arrived.elapsed());
    }
}
