//! The contract `saga.generator.v1`: messages to domain and back, room, and streams. What is made, the backends decide.

mod request;
mod studio;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use saga_chassis::status;
use saga_proto::generator::v1 as proto;
use saga_proto::generator::v1::generate_stream_response::Outcome as StreamOutcome;
use saga_proto::generator::v1::generator_service_server::GeneratorService;
use saga_proto::r#type::v1::Image;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use crate::backend::{Backend, Description, KeyCheck, Made, Outcome, Registry, Spec};
use crate::config::{Config, LimitsConfig};
use crate::error::GenerateError;
use crate::studio::Fault;

pub use studio::Studio;
pub use text::Text;

/// `GeneratorService` over the backends. Clones share the room.
#[derive(Clone)]
pub struct Generator {
    backends: Registry,
    limits: LimitsConfig,
    room: Arc<Semaphore>,
    queue_capacity: usize,
    max_in_flight: usize,
}

impl Generator {
    /// Serves `backends` under the limits of `config`.
    pub fn new(backends: Registry, config: &Config) -> Self {
        Self {
            backends,
            limits: config.limits,
            room: Arc::new(Semaphore::new(config.work.queue_capacity)),
            queue_capacity: config.work.queue_capacity,
            max_in_flight: config.work.max_in_flight,
        }
    }

    /// Sheds where there is no room.
    async fn make_or_shed(
        &self,
        spec: Option<proto::CandidateSpec>,
    ) -> Result<proto::Candidate, GenerateError> {
        let busy = |_| GenerateError::Busy {
            limit: self.queue_capacity,
        };
        let _place = self.room.try_acquire().map_err(busy)?;
        self.make(spec).await
    }

    /// Waits for room.
    async fn make_when_room(
        &self,
        spec: Option<proto::CandidateSpec>,
    ) -> Result<proto::Candidate, GenerateError> {
        let closed = |_| GenerateError::Internal("it is shutting down".to_owned());
        let _place = self.room.acquire().await.map_err(closed)?;
        self.make(spec).await
    }

    async fn make(
        &self,
        spec: Option<proto::CandidateSpec>,
    ) -> Result<proto::Candidate, GenerateError> {
        let spec = spec.ok_or_else(|| GenerateError::invalid("spec", "is missing"))?;
        let backend = self.backends.find(&spec.backend)?;
        let description = backend.describe();
        let spec = request::check(spec, &description, &self.limits)?;
        let span = tracing::info_span!(
            "generate",
            backend = description.name,
            target = spec.target_label
        );
        let begun = Instant::now();
        let made = backend.generate(spec.clone()).instrument(span).await?;
        Ok(candidate(spec, &description, made, begun))
    }

    async fn answer(self, item: proto::GenerateStreamRequest) -> proto::GenerateStreamResponse {
        let outcome = match self.make_when_room(item.spec).await {
            Ok(candidate) => StreamOutcome::Candidate(candidate),
            Err(error) => StreamOutcome::Error(status::item(&error.into())),
        };
        proto::GenerateStreamResponse {
            sequence: item.sequence,
            outcome: Some(outcome),
        }
    }
}

#[tonic::async_trait]
impl GeneratorService for Generator {
    type GenerateStreamStream = BoxStream<'static, Result<proto::GenerateStreamResponse, Status>>;

    async fn list_backends(
        &self,
        _: Request<proto::ListBackendsRequest>,
    ) -> Result<Response<proto::ListBackendsResponse>, Status> {
        let backends = self.backends.all().map(backend).collect();
        Ok(Response::new(proto::ListBackendsResponse { backends }))
    }

    async fn check_keys(
        &self,
        request: Request<proto::CheckKeysRequest>,
    ) -> Result<Response<proto::CheckKeysResponse>, Status> {
        let backend = self.backends.find(&request.into_inner().backend)?;
        let check = |key: KeyCheck| proto::KeyCheck {
            name: key.name,
            accepted: key.accepted.is_ok(),
            message: key.accepted.err().unwrap_or_default(),
        };
        let keys = backend.check_keys().await?.into_iter().map(check);
        Ok(Response::new(proto::CheckKeysResponse {
            keys: keys.collect(),
        }))
    }

    async fn generate(
        &self,
        request: Request<proto::GenerateRequest>,
    ) -> Result<Response<proto::GenerateResponse>, Status> {
        let candidate = self.make_or_shed(request.into_inner().spec).await?;
        Ok(Response::new(proto::GenerateResponse {
            candidate: Some(candidate),
        }))
    }

    async fn generate_stream(
        &self,
        request: Request<Streaming<proto::GenerateStreamRequest>>,
    ) -> Result<Response<Self::GenerateStreamStream>, Status> {
        let service = self.clone();
        let span = tracing::Span::current();
        let answers = request.into_inner().map(move |item| {
            let service = service.clone();
            async move { Ok(service.answer(item?).await) }.instrument(span.clone())
        });
        Ok(Response::new(
            answers.buffer_unordered(self.max_in_flight).boxed(),
        ))
    }
}

fn backend(backend: &dyn Backend) -> proto::Backend {
    let (description, allowance) = (backend.describe(), backend.allowance());
    proto::Backend {
        name: description.name.to_owned(),
        description: description.description.to_owned(),
        needs_source: description.needs_source,
        exemplars: description.exemplars,
        deterministic: description.deterministic,
        cost_usd: description.cost_usd,
        batch_cost_usd: description.batch_cost_usd,
        requests_per_minute: allowance.per_minute,
        requests_per_day: allowance.per_day,
    }
}

fn candidate(
    spec: Spec,
    description: &Description,
    made: Made,
    begun: Instant,
) -> proto::Candidate {
    let id = spec.candidate_id.clone();
    let provenance = provenance(spec, description, made.parameters, made.cost_usd, begun);
    let (outcome, image, message) = match made.outcome {
        Outcome::Image(data) => {
            let blake3 = saga_imaging::blake3_hex(&data);
            (
                proto::Outcome::Image,
                Some(Image { data, blake3 }),
                String::new(),
            )
        }
        Outcome::Without(why, message) => (why.kind(), None, message),
        Outcome::Text(text) => (proto::Outcome::Text, None, text),
    };
    proto::Candidate {
        candidate_id: id,
        outcome: outcome.into(),
        image,
        message,
        provenance: Some(provenance),
        truth: made.fault.map(|fault| proto::Truth {
            fault: truth(fault).into(),
        }),
    }
}

/// Where an answer comes from.
fn provenance(
    spec: Spec,
    description: &Description,
    parameters: BTreeMap<String, String>,
    cost_usd: f64,
    begun: Instant,
) -> proto::Provenance {
    proto::Provenance {
        backend: description.name.to_owned(),
        backend_version: description.version.clone(),
        prompt: spec.prompt,
        seed: spec.seed,
        source_blake3: spec.source_blake3,
        parameters: parameters.into_iter().collect(),
        cost_usd,
        duration: begun.elapsed().try_into().ok(),
    }
}

fn truth(fault: Fault) -> proto::Fault {
    match fault {
        Fault::None => proto::Fault::None,
        Fault::WrongExpression => proto::Fault::WrongExpression,
        Fault::OtherIdentity => proto::Fault::OtherIdentity,
        Fault::Unchanged => proto::Fault::Unchanged,
        Fault::Blurred => proto::Fault::Blurred,
        Fault::TwoFaces => proto::Fault::TwoFaces,
        Fault::NearDuplicate => proto::Fault::NearDuplicate,
    }
}
