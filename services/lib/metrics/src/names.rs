//! The name, unit and help text of every metric; nothing is named elsewhere.
//!
//! The format adds the unit (`_seconds`) and, to counters, `_total`; the names here are without them.

use prometheus_client::registry::{Metric, Registry, Unit};

/// What a scrape tells about a metric besides its figures.
pub(crate) struct Declaration {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
}

impl Declaration {
    const fn seconds(name: &'static str, help: &'static str) -> Self {
        let unit = Some(Unit::Seconds);
        Self { name, unit, help }
    }

    const fn count(name: &'static str, help: &'static str) -> Self {
        let unit = None;
        Self { name, unit, help }
    }

    pub(crate) fn register(self, registry: &mut Registry, metric: impl Metric) {
        match self.unit {
            Some(unit) => registry.register_with_unit(self.name, self.help, unit, metric),
            None => registry.register(self.name, self.help, metric),
        }
    }
}

pub(crate) const QUEUE_SECONDS: Declaration = Declaration::seconds(
    "saga_queue",
    "Seconds from an item's submission until a worker took it, waiting for room included; one for each item computed",
);
pub(crate) const DECODE_SECONDS: Declaration = Declaration::seconds(
    "saga_decode",
    "Seconds of decoding and resizing an item's images; one for each item decoded",
);
pub(crate) const COMPUTE_SECONDS: Declaration = Declaration::seconds(
    "saga_compute",
    "Seconds of the batch that an item was computed in; one for each item computed",
);
pub(crate) const REQUEST_SECONDS: Declaration = Declaration::seconds(
    "saga_request",
    "Seconds from an item's arrival at the service to this work's answer, the work before it included; one for each item computed whose caller waited",
);
pub(crate) const BATCH_SIZE: Declaration =
    Declaration::count("saga_batch_size", "Items of a batch; one for each batch");
pub(crate) const COMPUTED: Declaration = Declaration::count(
    "saga_computed",
    "Items computed, whether they succeeded or not",
);
pub(crate) const FAILED: Declaration = Declaration::count(
    "saga_failed",
    "Items computed that were answered with an error of their own",
);
pub(crate) const SHED: Declaration = Declaration::count(
    "saga_shed",
    "Items that were not computed: full, the queue had no room; expired, the deadline passed; abandoned, the caller left",
);
pub(crate) const QUEUE_LENGTH: Declaration =
    Declaration::count("saga_queue_length", "Items that wait in the queue");
pub(crate) const QUEUE_CAPACITY: Declaration =
    Declaration::count("saga_queue_capacity", "Items that the queue holds");
pub(crate) const COMPUTING: Declaration =
    Declaration::count("saga_computing", "Items that are being computed");
pub(crate) const SATURATION: Declaration = Declaration::count(
    "saga_saturation",
    "Share of the places in the workers' batches (workers times largest batch) that items being computed took, 0 to 1, averaged over the time since the last scrape that is 10 seconds old or older; workers without batches: the share of time they were busy",
);
pub(crate) const GRPC_REQUESTS: Declaration = Declaration::count(
    "saga_grpc_requests",
    "gRPC requests answered, by status code; CANCELLED where the caller left or its deadline passed first",
);
pub(crate) const GRPC_REQUEST_SECONDS: Declaration = Declaration::seconds(
    "saga_grpc_request",
    "Seconds from a gRPC request's arrival to the last byte of its answer",
);
