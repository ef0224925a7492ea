//! Every instrument of one server under its name.

use std::{fmt, sync::Arc};

use prometheus_client::{encoding::text, metrics::family::Family, registry::Registry};

use crate::{
    Counter, Gauge, GrpcMetrics, Histogram, Saturation, WorkMetrics,
    names::{self, Declaration},
};

/// The media type of what [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Work = [(&'static str, &'static str); 1];
type WorkAndReason = [(&'static str, &'static str); 2];

/// The metrics of one server; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    queue_seconds: Family<Work, Histogram>,
    decode_seconds: Family<Work, Histogram>,
    compute_seconds: Family<Work, Histogram>,
    request_seconds: Family<Work, Histogram>,
    batch_size: Family<Work, Histogram>,
    computed: Family<Work, Counter>,
    failed: Family<Work, Counter>,
    shed: Family<WorkAndReason, Counter>,
    queue_length: Family<Work, Gauge>,
    queue_capacity: Family<Work, Gauge>,
    computing: Family<Work, Gauge>,
    saturation: Family<Work, Saturation>,
    grpc: GrpcMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All names, and no figures yet.
    #[must_use]
    pub fn new() -> Self {
        let seconds = || Family::<Work, Histogram>::new_with_constructor(Histogram::seconds);
        let mut families = Families {
            registry: Registry::default(),
            queue_seconds: seconds(),
            decode_seconds: seconds(),
            compute_seconds: seconds(),
            request_seconds: seconds(),
            batch_size: Family::new_with_constructor(Histogram::sizes),
            computed: Family::default(),
            failed: Family::default(),
            shed: Family::default(),
            queue_length: Family::default(),
            queue_capacity: Family::default(),
            computing: Family::default(),
            saturation: Family::default(),
            grpc: GrpcMetrics::default(),
        };
        families.register();
        Self(Arc::new(families))
    }

    /// The instruments of `work`, the same ones each time; no figure of it is missing from then on.
    #[must_use]
    pub fn work(&self, work: &'static str) -> WorkMetrics {
        let (all, label) = (&*self.0, [("work", work)]);
        let shed = |reason| {
            all.shed
                .get_or_create_owned(&[("work", work), ("reason", reason)])
        };
        WorkMetrics {
            work,
            queue_seconds: all.queue_seconds.get_or_create_owned(&label),
            compute_seconds: all.compute_seconds.get_or_create_owned(&label),
            request_seconds: all.request_seconds.get_or_create_owned(&label),
            batch_size: all.batch_size.get_or_create_owned(&label),
            computed: all.computed.get_or_create_owned(&label),
            failed: all.failed.get_or_create_owned(&label),
            full: shed("full"),
            expired: shed("expired"),
            abandoned: shed("abandoned"),
            queue_length: all.queue_length.get_or_create_owned(&label),
            queue_capacity: all.queue_capacity.get_or_create_owned(&label),
            computing: all.computing.get_or_create_owned(&label),
            saturation: all.saturation.get_or_create_owned(&label),
        }
    }

    /// How long images take to decode in `work`; apart from [`work`](Self::work), for not every work decodes.
    #[must_use]
    pub fn decode_seconds(&self, work: &'static str) -> Histogram {
        let label = [("work", work)];
        self.0.decode_seconds.get_or_create_owned(&label)
    }

    /// The requests of the server.
    #[must_use]
    pub fn grpc(&self) -> &GrpcMetrics {
        &self.0.grpc
    }

    /// All figures now, in OpenMetrics' text format ([`CONTENT_TYPE`]), which Prometheus reads.
    ///
    /// # Errors
    /// None that is known: text is written to memory.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

impl Families {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let histograms: [(Declaration, &Family<Work, Histogram>); 5] = [
            (names::QUEUE_SECONDS, &self.queue_seconds),
            (names::DECODE_SECONDS, &self.decode_seconds),
            (names::COMPUTE_SECONDS, &self.compute_seconds),
            (names::REQUEST_SECONDS, &self.request_seconds),
            (names::BATCH_SIZE, &self.batch_size),
        ];
        for (declaration, family) in histograms {
            declaration.register(registry, family.clone());
        }
        names::COMPUTED.register(registry, self.computed.clone());
        names::FAILED.register(registry, self.failed.clone());
        names::SHED.register(registry, self.shed.clone());
        names::QUEUE_LENGTH.register(registry, self.queue_length.clone());
        names::QUEUE_CAPACITY.register(registry, self.queue_capacity.clone());
        names::COMPUTING.register(registry, self.computing.clone());
        names::SATURATION.register(registry, self.saturation.clone());
        names::GRPC_REQUESTS.register(registry, self.grpc.requests.clone());
        names::GRPC_REQUEST_SECONDS.register(registry, self.grpc.seconds.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lines(metrics: &Metrics) -> String {
        metrics.encode().unwrap()
    }

    #[test]
    fn names_units_and_labels_are_as_documented() {
        let metrics = Metrics::new();
        let vit = metrics.work("vit");
        metrics
            .decode_seconds("decode")
            .observe(Duration::from_millis(3));
        vit.open(256, 32);
        vit.begin(2);
        vit.full.inc();
        vit.batch_size.observe_size(2);
        let mut outcome = metrics.grpc().arrived("saga.A".into(), "Do".into());
        outcome.answered("OK");
        drop(outcome);
        drop(metrics.grpc().arrived("saga.A".into(), "Do".into()));
        let text = lines(&metrics);
        for expected in [
            "# TYPE saga_queue_seconds histogram",
            "# UNIT saga_queue_seconds seconds",
            "saga_queue_seconds_count{work=\"vit\"} 0",
            "saga_decode_seconds_bucket{le=\"0.0032\",work=\"decode\"} 1",
            "saga_batch_size_sum{work=\"vit\"} 2.0",
            "saga_shed_total{work=\"vit\",reason=\"full\"} 1",
            "saga_shed_total{work=\"vit\",reason=\"expired\"} 0",
            "saga_queue_capacity{work=\"vit\"} 256",
            "saga_computing{work=\"vit\"} 2",
            "saga_grpc_requests_total{service=\"saga.A\",method=\"Do\",code=\"OK\"} 1",
            "saga_grpc_request_seconds_count{service=\"saga.A\",method=\"Do\",code=\"CANCELLED\"} 1",
            "# EOF",
        ] {
            assert!(
                text.lines().any(|line| line == expected),
                "{expected}\n{text}"
            );
        }
        assert!(!text.contains("saga_decode_seconds_count{work=\"vit\"}"));
        vit.close(256, 32);
        vit.end(2);
        assert!(lines(&metrics).contains("saga_queue_capacity{work=\"vit\"} 0\n"));
    }

    #[test]
    fn the_same_work_adds_up_and_other_servers_stay_apart() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.work("vit").computed.inc();
        one.work("vit").computed.inc_by(2);
        assert_eq!(one.work("vit").computed.get(), 3);
        assert_eq!(other.work("vit").computed.get(), 0);
    }
}
