//! The label store's ledger, as remote backends use it.

use std::time::Duration;

use prost::bytes::Bytes;
use saga_client::Transport;
use saga_proto::generator::v1::{Budget, Outcome as OutcomeKind};
use saga_proto::labelstore::v1 as proto;
use saga_proto::labelstore::v1::ledger_service_client::LedgerServiceClient;
use saga_proto::labelstore::v1::reserve_response::Result as Reserved;
use saga_proto::labelstore::v1::settle_request::End;
use saga_proto::r#type::v1::Image;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::answers::Reply;
use super::config::RemoteConfig;
use crate::backend::{Outcome, Without};
use crate::error::GenerateError;

/// How often, and with what first pause, a settlement is repeated where the label store is away: a minute in all.
const SETTLE_TRIES: u32 = 8;
const SETTLE_PAUSE: Duration = Duration::from_millis(250);

/// A connection to the ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    client: LedgerServiceClient<Transport>,
    address: String,
    max_wait: Duration,
    max_tries: u32,
}

/// What the ledger gives.
#[derive(Debug)]
pub enum Grant {
    /// Send, after the wait, with this key.
    Permit {
        id: String,
        key: String,
        wait: Duration,
    },
    /// It was answered before, at this cost in all.
    Answered(Reply),
    /// An earlier try goes on at the server.
    Operation(Operation),
}

/// A try that goes on at the server.
#[derive(Clone, Debug)]
pub struct Operation {
    pub permit: String,
    /// Name of the key.
    pub key: String,
    /// The server's.
    pub name: String,
}

impl Ledger {
    /// Connects at the first call.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(config: &RemoteConfig) -> Result<Self, saga_client::ConnectError> {
        let transport = saga_client::connect_lazy(&config.ledger)?;
        Ok(Self {
            client: saga_client::limited!(LedgerServiceClient::new(transport)),
            address: config.ledger.clone(),
            max_wait: config.max_wait(),
            max_tries: config.max_tries,
        })
    }

    /// A permit for the request, or its answer.
    ///
    /// # Errors
    /// No key free in time, a spent budget, used up tries, no label store.
    pub async fn reserve(
        &self,
        request_id: &str,
        backend: &str,
        keys: Vec<proto::Key>,
        cost_usd: f64,
        budget: Option<Budget>,
    ) -> Result<Grant, GenerateError> {
        let request = proto::ReserveRequest {
            request_id: request_id.to_owned(),
            backend: backend.to_owned(),
            keys,
            cost_usd,
            budget,
            max_wait: self.max_wait.try_into().ok(),
            max_tries: self.max_tries,
        };
        let answer = self.client.clone().reserve(request).await;
        let answer = answer.map_err(|status| self.error(&status))?.into_inner();
        match answer.result {
            Some(Reserved::Permit(permit)) => Ok(Grant::Permit {
                id: permit.permit_id,
                key: permit.key,
                wait: permit
                    .wait
                    .and_then(|wait| wait.try_into().ok())
                    .unwrap_or_default(),
            }),
            Some(Reserved::Answer(answer)) => Ok(Grant::Answered(reply(answer)?)),
            Some(Reserved::Operation(operation)) => Ok(Grant::Operation(Operation {
                permit: operation.permit_id,
                key: operation.key,
                name: operation.name,
            })),
            None => Err(GenerateError::Internal(
                "the ledger answered with neither permit nor answer".to_owned(),
            )),
        }
    }

    /// Ends a permit; what the request cost so far. Repeated while the label store is away: an answer that is not
    /// recorded would be paid for again.
    ///
    /// # Errors
    /// No label store for a minute, or one that does not take it.
    pub async fn settle(
        &self,
        permit_id: &str,
        cost_usd: Option<f64>,
        end: End,
    ) -> Result<f64, GenerateError> {
        let request = proto::SettleRequest {
            permit_id: permit_id.to_owned(),
            cost_usd,
            end: Some(end),
        };
        let mut tries = 1;
        loop {
            match self.client.clone().settle(request.clone()).await {
                Ok(answer) => return Ok(answer.into_inner().cost_usd),
                Err(status) if status.code() == Code::Unavailable && tries < SETTLE_TRIES => {
                    tokio::time::sleep(SETTLE_PAUSE * (1 << tries)).await;
                    tries += 1;
                }
                Err(status) => return Err(self.error(&status)),
            }
        }
    }

    fn error(&self, status: &Status) -> GenerateError {
        let message = status.message().to_owned();
        let retry = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        match (status.code(), retry, saga_chassis::status::reason(status)) {
            (Code::ResourceExhausted, Some(retry_after), _) => GenerateError::Quota {
                message,
                retry_after,
            },
            (Code::FailedPrecondition, _, Some(reason)) => {
                GenerateError::Refused { reason, message }
            }
            (Code::InvalidArgument, ..) => GenerateError::invalid("spec", message),
            _ => GenerateError::Ledger {
                address: self.address.clone(),
                message,
            },
        }
    }
}

/// An answer as the ledger keeps it.
pub fn answer(outcome: &Outcome) -> End {
    let (kind, image, message) = match outcome {
        Outcome::Image(data) => (OutcomeKind::Image, Some(data.clone()), String::new()),
        Outcome::Without(why, message) => (why.kind(), None, message.clone()),
        Outcome::Text(text) => (OutcomeKind::Text, None, text.clone()),
    };
    End::Answer(proto::Answer {
        outcome: kind.into(),
        image: image.map(|data| Image {
            data,
            blake3: String::new(),
        }),
        message,
        cost_usd: 0.0,
    })
}

fn reply(answer: proto::Answer) -> Result<Reply, GenerateError> {
    let outcome = match (answer.outcome(), answer.image) {
        (OutcomeKind::Image, Some(Image { data, .. })) => Outcome::Image(Bytes::clone(&data)),
        (OutcomeKind::Text, _) => Outcome::Text(answer.message),
        (kind, _) => {
            let unknown = || GenerateError::Internal(format!("the ledger holds outcome {kind:?}"));
            let why = Without::of_kind(kind).ok_or_else(unknown)?;
            Outcome::Without(why, answer.message)
        }
    };
    Ok(Reply {
        outcome,
        cost_usd: answer.cost_usd,
    })
}
