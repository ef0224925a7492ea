//! What services measure, and how it is exported.
//!
//! One [`Metrics`] belongs to one server, so that several servers of one process keep their figures apart. Batching queues
//! record into its [`WorkMetrics`], the server's layer into its [`GrpcMetrics`]; a scrape reads them with
//! [`Metrics::encode`]. Recording touches atomics alone, except for one short lock at the beginning and the end of a batch,
//! and cannot fail.
//!
//! | metric | type | labels |
//! |---|---|---|
//! | `saga_queue_seconds` | histogram | work |
//! | `saga_decode_seconds` | histogram | work |
//! | `saga_compute_seconds` | histogram | work |
//! | `saga_request_seconds` | histogram | work |
//! | `saga_batch_size` | histogram | work |
//! | `saga_computed_total` | counter | work |
//! | `saga_failed_total` | counter | work |
//! | `saga_shed_total` | counter | work, reason: full, expired, abandoned |
//! | `saga_queue_length` | gauge | work |
//! | `saga_queue_capacity` | gauge | work |
//! | `saga_computing` | gauge | work |
//! | `saga_saturation` | gauge | work |
//! | `saga_grpc_requests_total` | counter | service, method, code |
//! | `saga_grpc_request_seconds` | histogram | service, method, code |
//!
//! ```
//! let metrics = saga_metrics::Metrics::new();
//! metrics.work("vit").computed.inc();
//! assert!(metrics.encode().unwrap().contains("saga_computed_total{work=\"vit\"} 1"));
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod grpc;
mod histogram;
mod names;
mod registry;
mod saturation;
mod work;

pub use grpc::{GrpcMetrics, GrpcOutcome};
pub use histogram::Histogram;
pub use registry::{CONTENT_TYPE, Metrics};
pub use saturation::Saturation;
pub use work::WorkMetrics;

pub use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
