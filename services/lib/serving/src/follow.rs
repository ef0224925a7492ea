//! Follows a name of the label store's model registry: the version that is to serve there serves here.

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use prost_types::Timestamp;
use saga_chassis::InvalidValue;
use saga_client::{ConnectError, Transport};
use saga_proto::labelstore::v1::{
    GetServingRequest, registry_service_client::RegistryServiceClient,
};
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::registry::{Loader, Registry};

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(2);
/// Until a version that did not load is tried again, unless it is promoted anew.
const RETRY: Duration = Duration::from_secs(60);

/// `[registry]`: which name of which registry is followed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// Address of a label store; empty: nothing is followed.
    pub address: String,
    /// Name in the registry, and of the model here.
    pub name: String,
}

impl Follow {
    /// # Errors
    /// An address without a name.
    pub fn check(&self) -> Result<(), InvalidValue> {
        if !self.address.is_empty() && self.name.is_empty() {
            let why = "is empty; name the model of the registry that is followed";
            return Err(InvalidValue::new("registry.name", why));
        }
        Ok(())
    }

    /// Starts to follow, where an address is configured, for as long as the models are there.
    ///
    /// # Errors
    /// An address that is none.
    pub fn start<L: Loader>(&self, models: &Arc<Registry<L>>) -> Result<(), ConnectError> {
        if self.address.is_empty() {
            return Ok(());
        }
        let transport = saga_client::connect_lazy(&self.address)?;
        let mut follower = Follower::new(RegistryServiceClient::new(transport), &self.name);
        let models = Arc::downgrade(models);
        tokio::spawn(async move { follower.run(models).await });
        Ok(())
    }
}

/// A version as it was promoted.
type Promotion = (u64, Option<Timestamp>);

struct Follower {
    client: RegistryServiceClient<Transport>,
    name: String,
    /// Served, or the last that did not load, and when that was.
    seen: Option<Promotion>,
    failed: Option<Instant>,
}

impl Follower {
    fn new(client: RegistryServiceClient<Transport>, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
            seen: None,
            failed: None,
        }
    }

    async fn run<L: Loader>(&mut self, models: Weak<Registry<L>>) {
        let mut told = String::new();
        while let Some(models) = models.upgrade() {
            match self.step(&models).await {
                Ok(()) => told.clear(),
                Err(status) if status.message() == told => {}
                Err(status) => {
                    status.message().clone_into(&mut told);
                    let name = &self.name;
                    tracing::warn!(
                        name,
                        error = told,
                        "the registry cannot be followed; what serves stays"
                    );
                }
            }
            drop(models);
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Asks once, and puts the version that is to serve in service where it does not already.
    ///
    /// # Errors
    /// As [`Registry::adopt`], or the registry's own.
    async fn step<L: Loader>(&mut self, models: &Registry<L>) -> Result<(), Status> {
        let request = GetServingRequest {
            name: self.name.clone(),
        };
        let Some(model) = self.client.get_serving(request).await?.into_inner().model else {
            return Ok(());
        };
        let promotion = (model.version, model.staged);
        let due = self.failed.is_some_and(|at| at.elapsed() >= RETRY);
        if self.seen.as_ref() == Some(&promotion) && !due {
            return Ok(());
        }
        self.seen = Some(promotion);
        let directory = Path::new(&model.directory);
        let adopted = models.adopt(&self.name, directory, &model.revision).await;
        self.failed = adopted.is_err().then(Instant::now);
        adopted.map(drop)
    }
}

#[cfg(test)]
mod tests;
