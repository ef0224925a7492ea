//! `saga.gate.v1.GateService` for any [`Gate`].

use std::future::Future;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use saga_chassis::status;
use saga_proto::gate::v1::evaluate_stream_response::Outcome;
use saga_proto::gate::v1::gate_service_server::GateService;
use saga_proto::gate::v1::{
    DescribeRequest, DescribeResponse, EvaluateRequest, EvaluateResponse, EvaluateStreamRequest,
    EvaluateStreamResponse, Item, Verdict,
};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, Span};

use crate::call::Call;
use crate::verdict::{self, Candidate, Judgement};

/// One check of the cascade.
pub trait Gate: Send + Sync + 'static {
    /// What the gate checks and needs. It is asked for every item, so that it may follow the loaded model.
    fn describe(&self) -> DescribeResponse;

    /// Scores one candidate, with nothing missing that [`describe`](Self::describe) says is needed.
    ///
    /// # Errors
    /// INVALID_ARGUMENT naming the field for an image that does not decode ([`decode_error`](crate::decode_error)) or
    /// a label or model that the gate does not know; what [`submit`](crate::submit) answers.
    fn evaluate(
        &self,
        candidate: Candidate,
    ) -> impl Future<Output = Result<Judgement, Status>> + Send;
}

/// What one caller may ask of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateLimits {
    /// Longest encoded image in bytes.
    pub max_image_bytes: usize,
    /// Items of one stream that are evaluated at the same time; at least 1.
    pub max_in_flight: usize,
}

/// The service; wrap it in `GateServiceServer`.
#[derive(Debug)]
pub struct GateServer<G> {
    gate: Arc<G>,
    limits: GateLimits,
}

impl<G> Clone for GateServer<G> {
    fn clone(&self) -> Self {
        Self {
            gate: Arc::clone(&self.gate),
            limits: self.limits,
        }
    }
}

impl<G: Gate> GateServer<G> {
    /// Serves `gate`, which other services of the same process may share.
    pub fn new(gate: Arc<G>, limits: GateLimits) -> Self {
        Self { gate, limits }
    }

    async fn judge(&self, item: Option<Item>, call: Call) -> Result<Verdict, Status> {
        let description = self.gate.describe();
        let (header, candidate) =
            verdict::check(item, &description, self.limits.max_image_bytes, call)?;
        let judgement = self.gate.evaluate(candidate).await?;
        verdict::write(header, description.name, judgement)
    }

    async fn answer(&self, request: EvaluateStreamRequest, call: Call) -> EvaluateStreamResponse {
        let outcome = match self.judge(request.item, call.arriving()).await {
            Ok(verdict) => Outcome::Verdict(verdict),
            Err(error) => Outcome::Error(status::item(&error)),
        };
        EvaluateStreamResponse {
            sequence: request.sequence,
            outcome: Some(outcome),
        }
    }
}

#[tonic::async_trait]
impl<G: Gate> GateService for GateServer<G> {
    type EvaluateStreamStream = BoxStream<'static, Result<EvaluateStreamResponse, Status>>;

    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(self.gate.describe()))
    }

    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<EvaluateResponse>, Status> {
        let call = Call::unary(request.metadata())?;
        let verdict = self.judge(request.into_inner().item, call).await?;
        Ok(Response::new(EvaluateResponse {
            verdict: Some(verdict),
        }))
    }

    async fn evaluate_stream(
        &self,
        request: Request<Streaming<EvaluateStreamRequest>>,
    ) -> Result<Response<Self::EvaluateStreamStream>, Status> {
        let call = Call::stream(request.metadata())?;
        let (server, span) = (self.clone(), Span::current());
        // An error of the transport ends the stream; an error of an item is that item's answer.
        let answers = request.into_inner().map(move |request| {
            let (server, span) = (server.clone(), span.clone());
            async move { Ok::<_, Status>(server.answer(request?, call).await) }.instrument(span)
        });
        Ok(Response::new(
            answers
                .buffer_unordered(self.limits.max_in_flight.max(1))
                .boxed(),
        ))
    }
}
