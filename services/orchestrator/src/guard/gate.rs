//! One gate of the cascade at its address: a client, the recipe's thresholds, and what the gate says it needs.

use std::{collections::HashMap, sync::Arc};

use saga_client::{MAX_MESSAGE_BYTES, Priority, Transport};
use saga_proto::gate::v1::{
    DescribeRequest, DescribeResponse, EvaluateRequest, Item, Verdict,
    gate_service_client::GateServiceClient,
};
use tokio::sync::OnceCell;
use tonic::Request;
use tracing::Instrument as _;

use super::GuardError;
use crate::{
    config::{Addresses, RetryPolicy},
    recipe::Gate,
};

/// A gate of a recipe, bound to an address.
#[derive(Debug, Clone)]
pub struct BoundGate {
    gate: Gate,
    address: String,
    client: GateServiceClient<Transport>,
    retry: RetryPolicy,
    description: Arc<OnceCell<DescribeResponse>>,
}

impl BoundGate {
    pub(super) fn new(
        gate: &Gate,
        addresses: &Addresses,
        retry: RetryPolicy,
    ) -> Result<Self, GuardError> {
        let error = |why: String| GuardError::Address {
            gate: gate.name.clone(),
            address: gate.address.clone(),
            why,
        };
        let address = addresses.of_gate(&gate.address).ok_or_else(|| {
            let names: Vec<_> = addresses.gates.keys().map(String::as_str).collect();
            error(format!("is neither http://host:port nor a known name; known are quality-gate, ssim-gate, clip-gate, vit-classifier {}", names.join(" ")))
        })?;
        let transport =
            saga_client::connect_lazy(address).map_err(|invalid| error(invalid.to_string()))?;
        let client = GateServiceClient::new(transport)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            gate: gate.clone(),
            address: address.to_owned(),
            client,
            retry,
            description: Arc::default(),
        })
    }

    /// The gate's name in the recipe.
    pub fn name(&self) -> &str {
        &self.gate.name
    }

    pub(super) fn default_model(&mut self, service: &str, model: &str) {
        if self.gate.address == service && self.gate.model.is_empty() {
            model.clone_into(&mut self.gate.model);
        }
    }

    /// What the gate says of itself; asked once.
    pub(super) async fn description(&self) -> Result<&DescribeResponse, GuardError> {
        self.description.get_or_try_init(|| self.describe()).await
    }

    async fn describe(&self) -> Result<DescribeResponse, GuardError> {
        let call = || {
            let mut client = self.client.clone();
            async move { client.describe(DescribeRequest {}).await }
        };
        let description = self
            .retry
            .run(call)
            .await
            .map_err(|status| self.error(status))?
            .into_inner();
        self.check_thresholds(&description)?;
        Ok(description)
    }

    /// The recipe's bounds must be ones the gate takes.
    fn check_thresholds(&self, description: &DescribeResponse) -> Result<(), GuardError> {
        let labels = std::iter::once("").chain(self.gate.per_class.keys().map(String::as_str));
        for (bound, value) in labels.flat_map(|label| self.gate.thresholds_for(label)) {
            let key = format!("gates.{}.thresholds.{bound}", self.gate.name);
            let Some(spec) = description
                .thresholds
                .iter()
                .find(|spec| spec.name == bound)
            else {
                return Err(GuardError::invalid(
                    &key,
                    format!(
                        "gate {:?} at {} takes no threshold {bound:?}",
                        self.gate.name, self.address
                    ),
                ));
            };
            if !(spec.lowest..=spec.highest).contains(&value) {
                let why = format!(
                    "is {value}; gate {:?} at {} allows {} to {}",
                    self.gate.name, self.address, spec.lowest, spec.highest
                );
                return Err(GuardError::invalid(&key, why));
            }
        }
        Ok(())
    }

    /// The gate's verdict on an item.
    pub(super) async fn evaluate(
        &self,
        item: &Item,
        priority: Priority,
    ) -> Result<Verdict, GuardError> {
        let description = self.description().await?;
        let request = EvaluateRequest {
            item: Some(self.tailored(item, description)),
        };
        let call = || {
            let (mut client, mut request) = (self.client.clone(), Request::new(request.clone()));
            priority.mark(&mut request);
            async move { client.evaluate(request).await }
        };
        let span = tracing::info_span!(
            "gate",
            otel.name = format!("gate {}", self.gate.name),
            gate = self.gate.name,
            accepted = tracing::field::Empty
        );
        let response = self
            .retry
            .run(call)
            .instrument(span.clone())
            .await
            .map_err(|status| self.error(status))?;
        let verdict = response
            .into_inner()
            .verdict
            .ok_or_else(|| self.contract("the answer has no verdict"))?;
        span.record("accepted", verdict.accepted);
        self.checked(verdict, &item.candidate_id)
    }

    /// The item with this gate's thresholds and model, and only with what the gate needs.
    fn tailored(&self, item: &Item, description: &DescribeResponse) -> Item {
        let thresholds = self.gate.thresholds_for(&item.target_label);
        Item {
            candidate_id: item.candidate_id.clone(),
            candidate: item.candidate.clone(),
            source: item.source.clone().filter(|_| description.needs_source),
            target_label: item.target_label.clone(),
            prompt: if description.needs_prompt {
                item.prompt.clone()
            } else {
                String::new()
            },
            thresholds: thresholds
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<HashMap<_, _>>(),
            model: self.gate.model.clone(),
        }
    }

    /// A verdict that can be relied on: of this candidate, with a number as score.
    fn checked(&self, verdict: Verdict, candidate_id: &str) -> Result<Verdict, GuardError> {
        if verdict.candidate_id != candidate_id {
            return Err(self.contract(&format!(
                "asked about {candidate_id:?}, it answered about {:?}",
                verdict.candidate_id
            )));
        }
        if verdict.accepted && !verdict.score.is_finite() {
            return Err(self.contract(&format!("it accepted with score {}", verdict.score)));
        }
        Ok(verdict)
    }

    fn error(&self, status: tonic::Status) -> GuardError {
        GuardError::of_gate(&self.gate.name, &self.address, status)
    }

    fn contract(&self, why: &str) -> GuardError {
        GuardError::Contract {
            gate: self.gate.name.clone(),
            address: self.address.clone(),
            why: why.to_owned(),
        }
    }
}
