//! LedgerService.

use saga_proto::{
    generator::v1::Outcome,
    labelstore::v1::{
        self, ledger_service_server::LedgerService, reserve_response, settle_request,
    },
    r#type::v1::Image,
};
use tonic::{Request, Response, Status};

use super::{Service, candidate};
use crate::{
    error::StoreError,
    ledger::{self, Answer, Ended, Key, Limit, Reserved, Spending, Wanted},
};

#[tonic::async_trait]
impl LedgerService for Service {
    async fn reserve(
        &self,
        request: Request<v1::ReserveRequest>,
    ) -> Result<Response<v1::ReserveResponse>, Status> {
        let reserved = ledger::reserve(&self.store, &wanted_of(request.into_inner())).await;
        self.answer(reserved.map(|reserved| v1::ReserveResponse {
            result: Some(match reserved {
                Reserved::Permit(permit) => reserve_response::Result::Permit(v1::Permit {
                    permit_id: permit.id,
                    key: permit.key,
                    wait: Some(candidate::duration(permit.wait_ms * 1_000)),
                }),
                Reserved::Answer(answer) => reserve_response::Result::Answer(message(answer)),
                Reserved::Operation(operation) => {
                    reserve_response::Result::Operation(v1::Operation {
                        permit_id: operation.permit,
                        key: operation.key,
                        name: operation.name,
                    })
                }
            }),
        }))
    }

    async fn settle(
        &self,
        request: Request<v1::SettleRequest>,
    ) -> Result<Response<v1::SettleResponse>, Status> {
        let v1::SettleRequest {
            permit_id,
            cost_usd,
            end,
        } = request.into_inner();
        let ended = ended_of(end).map_err(|e| self.status(&e))?;
        let cost = ledger::settle(&self.store, &permit_id, cost_usd, ended).await;
        self.answer(cost.map(|cost_usd| v1::SettleResponse { cost_usd }))
    }

    async fn get_spending(
        &self,
        request: Request<v1::GetSpendingRequest>,
    ) -> Result<Response<v1::GetSpendingResponse>, Status> {
        let spending = ledger::spending(&self.store, &request.into_inner().budget_id).await;
        self.answer(spending.map(|spending| v1::GetSpendingResponse {
            spending: spending.into_iter().map(spent).collect(),
        }))
    }
}

fn wanted_of(request: v1::ReserveRequest) -> Wanted {
    let budget = request.budget.unwrap_or_default();
    Wanted {
        request_id: request.request_id,
        backend: request.backend,
        keys: request.keys.into_iter().map(key_of).collect(),
        cost_usd: request.cost_usd,
        budget: budget.id,
        max_cost_usd: budget.max_cost_usd,
        max_wait_ms: candidate::microseconds(request.max_wait) / 1_000,
        max_tries: request.max_tries,
    }
}

fn key_of(key: v1::Key) -> Key {
    let limit = |limit: v1::Limit| Limit {
        requests: limit.requests,
        period_ms: candidate::microseconds(limit.period) / 1_000,
    };
    Key {
        name: key.name,
        limits: key.limits.into_iter().map(limit).collect(),
    }
}

fn ended_of(end: Option<settle_request::End>) -> Result<Ended, StoreError> {
    let answer = match end {
        Some(settle_request::End::Answer(answer)) => answer,
        Some(settle_request::End::Failure(why)) => return Ok(Ended::Failed(why)),
        Some(settle_request::End::Operation(name)) => return Ok(Ended::Continues(name)),
        None => {
            let why = "is missing; give the answer, why there is none, or what it goes on as";
            return Err(StoreError::invalid("end", why));
        }
    };
    let image = answer.image.filter(|image| !image.data.is_empty());
    let of_image = answer.outcome == Outcome::Image as i32;
    if answer.outcome == Outcome::Unspecified as i32 || of_image != image.is_some() {
        let why = "must be set, and be OUTCOME_IMAGE exactly where there is an image";
        return Err(StoreError::invalid("answer.outcome", why));
    }
    Ok(Ended::Answered(Answer {
        outcome: answer.outcome,
        image: image.map(|image| image.data),
        message: answer.message,
        cost_usd: 0.0,
    }))
}

fn message(answer: Answer) -> v1::Answer {
    let image = |data: prost::bytes::Bytes| Image {
        blake3: saga_imaging::blake3_hex(&data),
        data,
    };
    v1::Answer {
        outcome: answer.outcome,
        image: answer.image.map(image),
        message: answer.message,
        cost_usd: answer.cost_usd,
    }
}

fn spent(spending: Spending) -> v1::Spending {
    let requests = spending.outcomes.iter().map(|(_, n)| n).sum();
    let outcomes = spending.outcomes.into_iter().filter_map(|(outcome, n)| {
        let outcome = Outcome::try_from(outcome?).ok()?;
        let name = outcome.as_str_name();
        Some((name.strip_prefix("OUTCOME_").unwrap_or(name).to_owned(), n))
    });
    v1::Spending {
        budget_id: spending.budget,
        backend: spending.backend,
        requests,
        tries: spending.tries,
        outcomes: outcomes.collect(),
        cost_usd: spending.cost_usd,
    }
}
