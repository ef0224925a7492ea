//! Why a load does not begin.

use saga_client::ConnectError;
use tonic::Status;

use crate::schedule::ScheduleError;

/// What is wrong before the first request of the load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nobody at the address, or no address.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Somebody else is at the address.
    #[error(
        "{address} does not answer Describe; is it the address of a gate (saga.gate.v1.GateService)?"
    )]
    NotAGate {
        /// As given.
        address: String,
        /// What it answered.
        #[source]
        status: Status,
    },
    /// There is nothing to send.
    #[error("there are no items to send")]
    NoItems,
    /// The gate does not judge an item when it is asked alone, so it will not under load.
    #[error("the gate refuses {item}, sent alone before the load ({})", status.code().description())]
    Refused {
        /// The item's name.
        item: String,
        /// Why.
        #[source]
        status: Status,
    },
    /// The rate and the duration make no schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A histogram's bounds are wrong: a fault of this program.
    #[error("no histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// The thread that keeps the schedule was lost.
    #[error("the thread that sends requests ended early: {0}")]
    Pacer(#[from] tokio::task::JoinError),
}
