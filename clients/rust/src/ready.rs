//! Waits for a service to be ready, as grpc.health.v1 tells.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{ConnectError, Transport, connect_lazy};

/// Time between attempts while nobody listens.
const RETRY: Duration = Duration::from_millis(50);

/// Waits until `service` ("saga.gate.v1.GateService"; empty: the server as a whole) at `address` is SERVING.
///
/// A server that is not there yet is waited for too, so that processes may start in any order.
///
/// # Errors
/// An address without meaning, a server without that service, or time that ran out.
pub async fn wait_until_ready(
    address: &str,
    service: &str,
    timeout: Duration,
) -> Result<(), ReadyError> {
    let deadline = Instant::now() + timeout;
    let mut client = HealthClient::new(connect_lazy(address)?);
    let mut last = "nobody listens there".to_owned();
    loop {
        match timeout_at(deadline, watch(&mut client, service)).await {
            Ok(Watched::Ready) => return Ok(()),
            Ok(Watched::Unknown) => {
                return Err(ReadyError::UnknownService {
                    address: address.to_owned(),
                    service: service.to_owned(),
                });
            }
            Ok(Watched::Lost(why)) => last = why,
            // Within the watch all the time: it listens, but is not ready.
            Err(_) => {
                "it answers NOT_SERVING: a model service needs a model first".clone_into(&mut last)
            }
        }
        if Instant::now() + RETRY >= deadline {
            return Err(ReadyError::TimedOut {
                address: address.to_owned(),
                service: service.to_owned(),
                timeout,
                last,
            });
        }
        sleep(RETRY).await;
    }
}

enum Watched {
    Ready,
    Unknown,
    Lost(String),
}

async fn watch(client: &mut HealthClient<Transport>, service: &str) -> Watched {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut answers = match client.watch(request).await {
        Ok(answers) => answers.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Watched::Unknown,
        Err(status) => return Watched::Lost(status.message().to_owned()),
    };
    loop {
        match answers.message().await {
            Ok(Some(answer)) if answer.status() == ServingStatus::Serving => return Watched::Ready,
            Ok(Some(_)) => {}
            Ok(None) => return Watched::Lost("it is stopping".to_owned()),
            Err(status) => return Watched::Lost(status.message().to_owned()),
        }
    }
}

/// Why a service did not become ready.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadyError {
    /// The address has no meaning.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server is another one.
    #[error("{address} has no service {service}; is it the address of another server?")]
    UnknownService {
        /// As given.
        address: String,
        /// As given.
        service: String,
    },
    /// It took too long.
    #[error("{service:?} at {address} was not ready within {timeout:?}: {last}")]
    TimedOut {
        /// As given.
        address: String,
        /// As given.
        service: String,
        /// As given.
        timeout: Duration,
        /// What was seen last.
        last: String,
    },
}
