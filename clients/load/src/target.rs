//! The gate under load: its address, what it says of itself, and the connections to it.

use std::sync::Arc;

use saga_client::{ConnectError, Transport};
use saga_proto::gate::v1::{
    DescribeRequest, DescribeResponse, gate_service_client::GateServiceClient,
};

use crate::error::LoadError;

/// A client on one connection.
pub(crate) type Client = GateServiceClient<Transport>;

/// A connected gate.
#[derive(Debug, Clone)]
pub struct Target {
    address: String,
    description: Arc<DescribeResponse>,
    first: Client,
    others: Arc<[Client]>,
}

impl Target {
    /// Opens `connections` connections (at least one) and asks the gate what it is.
    ///
    /// # Errors
    /// Nobody at the address, or somebody who is no gate.
    pub async fn connect(address: &str, connections: usize) -> Result<Self, LoadError> {
        let mut first = client(address).await?;
        let description = first
            .describe(DescribeRequest {})
            .await
            .map_err(|status| LoadError::NotAGate {
                address: address.to_owned(),
                status,
            })?
            .into_inner();
        let mut others = Vec::new();
        for _ in 1..connections {
            others.push(client(address).await?);
        }
        Ok(Self {
            address: address.to_owned(),
            description: Arc::new(description),
            first,
            others: others.into(),
        })
    }

    /// As given.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the gate says of itself.
    #[must_use]
    pub fn description(&self) -> &DescribeResponse {
        &self.description
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.others.len() + 1
    }

    /// The connection of the `sequence`-th request: each in turn.
    pub(crate) fn client(&self, sequence: u64) -> Client {
        let turn = sequence % (self.connections() as u64);
        let other = (turn as usize)
            .checked_sub(1)
            .and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first).clone()
    }
}

async fn client(address: &str) -> Result<Client, ConnectError> {
    let transport = saga_client::connect(address).await?;
    Ok(saga_client::limited!(GateServiceClient::new(transport)))
}
