//! Connects Rust programs to SAGA services.
//!
//! [`connect`] gives a [`Transport`] for the generated clients of `saga-proto`: it carries the W3C trace context of the
//! current `tracing` span, so that what the service does appears in the caller's trace. Raise the clients' message limits
//! to [`MAX_MESSAGE_BYTES`] with [`limited!`], for images are larger than gRPC's default of 4 MiB.
//!
//! ```no_run
//! use saga_proto::gate::v1::{DescribeRequest, gate_service_client::GateServiceClient};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = saga_client::connect("127.0.0.1:50051").await?;
//! let mut gate = saga_client::limited!(GateServiceClient::new(transport));
//! let gate = gate.describe(DescribeRequest {}).await?.into_inner();
//! println!("{}: {}", gate.name, gate.description);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod conformance;
mod connect;
mod priority;
mod propagation;
mod ready;

pub use connect::{ConnectError, Options, Transport, connect, connect_lazy};
pub use priority::Priority;
pub use propagation::CallContext;
pub use ready::{ReadyError, wait_until_ready};

/// The message limit of services by default, in bytes: two images of 32 MiB and what goes with them.
pub const MAX_MESSAGE_BYTES: usize = 65 * 1024 * 1024;

/// Raises the message limits of a generated client to [`MAX_MESSAGE_BYTES`].
#[macro_export]
macro_rules! limited {
    ($client:expr) => {
        $client
            .max_decoding_message_size($crate::MAX_MESSAGE_BYTES)
            .max_encoding_message_size($crate::MAX_MESSAGE_BYTES)
    };
}
