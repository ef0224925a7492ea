//! `saga.guard.v1.GuardService`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use saga_chassis::{priority, status};
use saga_client::Priority;
use saga_proto::guard::v1::{
    Candidate, CheckRequest, CheckResponse, CheckStreamRequest, CheckStreamResponse, Decision,
    check_stream_response::Outcome, guard_service_server::GuardService,
};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use crate::guard::Guards;

/// The guard, for any caller.
#[derive(Debug, Clone)]
pub struct GuardGrpc {
    guards: Arc<Guards>,
    in_flight: usize,
}

impl GuardGrpc {
    /// Checks at most `in_flight` candidates of one stream at once.
    pub fn new(guards: Guards, in_flight: usize) -> Self {
        Self {
            guards: Arc::new(guards),
            in_flight,
        }
    }
}

#[tonic::async_trait]
impl GuardService for GuardGrpc {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let priority = stated(request.metadata())?;
        let decision = check(&self.guards, request.into_inner().candidate, priority).await?;
        Ok(Response::new(CheckResponse {
            decision: Some(decision),
        }))
    }

    type CheckStreamStream =
        Pin<Box<dyn Stream<Item = Result<CheckStreamResponse, Status>> + Send>>;

    async fn check_stream(
        &self,
        request: Request<Streaming<CheckStreamRequest>>,
    ) -> Result<Response<Self::CheckStreamStream>, Status> {
        let priority = stated(request.metadata())?;
        let guards = self.guards.clone();
        let answers = request.into_inner().map(move |item| {
            let guards = guards.clone();
            async move {
                let CheckStreamRequest {
                    sequence,
                    candidate,
                } = item?;
                let outcome = match check(&guards, candidate, priority).await {
                    Ok(decision) => Outcome::Decision(decision),
                    Err(error) => Outcome::Error(status::item(&error)),
                };
                Ok(CheckStreamResponse {
                    sequence,
                    outcome: Some(outcome),
                })
            }
        });
        Ok(Response::new(Box::pin(
            answers.buffer_unordered(self.in_flight),
        )))
    }
}

/// Gates are asked as urgently as the guard is.
fn stated(metadata: &MetadataMap) -> Result<Priority, Status> {
    Ok(match priority::is_low(metadata)? {
        true => Priority::Low,
        false => Priority::Normal,
    })
}

async fn check(
    guards: &Guards,
    candidate: Option<Candidate>,
    priority: Priority,
) -> Result<Decision, Status> {
    let candidate = candidate.ok_or_else(|| status::invalid_argument("candidate", "is missing"))?;
    let guard = guards.get(&candidate.recipe)?;
    Ok(guard.check(&candidate, priority).await?)
}
