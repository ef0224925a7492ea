//! Clients of the other services, with retries and with errors that name service and address.

use saga_client::{MAX_MESSAGE_BYTES, Transport};
use saga_proto::{
    classifier::v1::classifier_service_client::ClassifierServiceClient,
    clip::v1::clip_service_client::ClipServiceClient,
    generator::v1::generator_service_client::GeneratorServiceClient,
    labelstore::v1::{
        dataset_service_client::DatasetServiceClient, golden_service_client::GoldenServiceClient,
        registry_service_client::RegistryServiceClient, run_service_client::RunServiceClient,
    },
    model::v1::model_service_client::ModelServiceClient,
    trainer::v1::trainer_service_client::TrainerServiceClient,
};
use tonic::{Response, Status, Streaming};

use crate::config::{Config, RetryPolicy};

/// A call to another service that failed, all retries included.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{service} at {address}: {}", describe(.status))]
pub struct RemoteError {
    /// For example "label store".
    pub service: &'static str,
    /// Where it was called.
    pub address: String,
    /// Its answer.
    pub status: Status,
}

fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// An address that is none.
#[derive(Debug, thiserror::Error)]
#[error("address of the {service}: {why}")]
pub struct AddressError {
    service: &'static str,
    why: String,
}

/// A client with its service's name and address.
#[derive(Debug, Clone)]
pub struct Remote<C> {
    client: C,
    service: &'static str,
    address: String,
    retry: RetryPolicy,
}

impl<C: Clone> Remote<C> {
    /// Calls with retries; the closure gets a clone of client and request for each try.
    pub async fn call<R, T, F, Fut>(&self, request: R, mut call: F) -> Result<T, RemoteError>
    where
        R: Clone,
        F: FnMut(C, R) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let outcome = self
            .retry
            .run(|| call(self.client.clone(), request.clone()))
            .await;
        outcome
            .map(Response::into_inner)
            .map_err(|status| self.error(status))
    }

    /// The next message of this service's stream.
    pub async fn next<T>(&self, stream: &mut Streaming<T>) -> Result<Option<T>, RemoteError> {
        stream.message().await.map_err(|status| self.error(status))
    }

    /// An error of this service.
    pub fn error(&self, status: Status) -> RemoteError {
        RemoteError {
            service: self.service,
            address: self.address.clone(),
            status,
        }
    }
}

/// A generator, the configured one or one that a recipe names.
pub type Generator = Remote<GeneratorServiceClient<Transport>>;

/// The services that a run needs beside its gates. Connections open on first use and again after a loss.
#[derive(Debug, Clone)]
pub struct Services {
    /// Label store: data sets.
    pub datasets: Remote<DatasetServiceClient<Transport>>,
    /// Label store: the sealed golden set.
    pub golden: Remote<GoldenServiceClient<Transport>>,
    /// Label store: runs, slots, candidates.
    pub runs: Remote<RunServiceClient<Transport>>,
    /// Label store: models and what they were made of.
    pub registry: Remote<RegistryServiceClient<Transport>>,
    /// Makes candidates.
    pub generator: Generator,
    /// Trains models.
    pub trainer: Remote<TrainerServiceClient<Transport>>,
    /// Classifies images.
    pub classifier: Remote<ClassifierServiceClient<Transport>>,
    /// Models of the classifier.
    pub classifier_models: Remote<ModelServiceClient<Transport>>,
    /// Embeds images.
    pub clip: Remote<ClipServiceClient<Transport>>,
    /// Models of the CLIP gate.
    pub clip_models: Remote<ModelServiceClient<Transport>>,
    retry: RetryPolicy,
}

/// Opens a client lazily with the message limits raised to SAGA's.
macro_rules! remote {
    ($client:ident, $service:literal, $address:expr, $retry:expr) => {{
        let address: &str = $address;
        let transport = saga_client::connect_lazy(address).map_err(|error| AddressError {
            service: $service,
            why: error.to_string(),
        })?;
        let client = $client::new(transport)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Remote {
            client,
            service: $service,
            address: address.to_owned(),
            retry: $retry,
        }
    }};
}

impl Services {
    /// Clients for the configured addresses; opens nothing yet.
    ///
    /// # Errors
    /// An address that does not parse.
    pub fn new(config: &Config) -> Result<Self, AddressError> {
        let (at, retry) = (&config.addresses, config.retry);
        Ok(Self {
            datasets: remote!(DatasetServiceClient, "label store", &at.label_store, retry),
            golden: remote!(GoldenServiceClient, "label store", &at.label_store, retry),
            runs: remote!(RunServiceClient, "label store", &at.label_store, retry),
            registry: remote!(RegistryServiceClient, "label store", &at.label_store, retry),
            generator: remote!(GeneratorServiceClient, "generator", &at.generator, retry),
            trainer: remote!(TrainerServiceClient, "trainer", &at.trainer, retry),
            classifier: remote!(
                ClassifierServiceClient,
                "vit-classifier",
                &at.vit_classifier,
                retry
            ),
            classifier_models: remote!(
                ModelServiceClient,
                "vit-classifier",
                &at.vit_classifier,
                retry
            ),
            clip: remote!(ClipServiceClient, "clip-gate", &at.clip_gate, retry),
            clip_models: remote!(ModelServiceClient, "clip-gate", &at.clip_gate, retry),
            retry,
        })
    }

    /// The generator at an address; empty: the configured one.
    ///
    /// # Errors
    /// An address that does not parse.
    pub fn generator_at(&self, address: &str) -> Result<Generator, AddressError> {
        if address.is_empty() {
            return Ok(self.generator.clone());
        }
        Ok(remote!(
            GeneratorServiceClient,
            "generator",
            address,
            self.retry
        ))
    }

    /// The models of the generator at an address; empty: of the configured one.
    ///
    /// # Errors
    /// An address that does not parse.
    pub fn generator_models_at(
        &self,
        address: &str,
    ) -> Result<Remote<ModelServiceClient<Transport>>, AddressError> {
        let address = match address {
            "" => self.generator.address.as_str(),
            given => given,
        };
        Ok(remote!(
            ModelServiceClient,
            "generator",
            address,
            self.retry
        ))
    }
}
