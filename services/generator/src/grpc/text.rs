//! TextService: words about images.

use std::time::Instant;

use saga_proto::generator::v1 as proto;
use saga_proto::generator::v1::text_service_server::TextService;
use tonic::{Request, Response, Status};

use super::provenance;
use super::request::{MAX_NAME_BYTES, at_most, hashed};
use crate::backend::{Outcome, Registry, Spec};
use crate::config::LimitsConfig;
use crate::error::GenerateError;
use crate::words::{Wanted, Words};

const MAX_LABELS: usize = 256;
const MAX_COMMENTS: usize = 20;

/// `TextService` over the backends that make words.
#[derive(Clone)]
pub struct Text {
    backends: Registry,
    limits: LimitsConfig,
}

impl Text {
    /// Serves `backends` under `limits`.
    pub fn new(backends: Registry, limits: LimitsConfig) -> Self {
        Self { backends, limits }
    }

    fn check(&self, request: proto::DescribeRequest) -> Result<Spec, GenerateError> {
        at_most("request_id", request.request_id.len(), MAX_NAME_BYTES)?;
        at_most("prompt", request.prompt.len(), self.limits.max_prompt_bytes)?;
        let count = request.labels.len();
        if count > MAX_LABELS {
            let why = format!("has {count} labels and the limit is {MAX_LABELS}; send fewer");
            return Err(GenerateError::invalid("labels", why));
        }
        for (i, label) in request.labels.iter().enumerate() {
            at_most(&format!("labels[{i}]"), label.len(), MAX_NAME_BYTES)?;
        }
        let comments = request.comments as usize;
        if comments > MAX_COMMENTS {
            let why = format!("is {comments} and the limit is {MAX_COMMENTS}; ask for fewer");
            return Err(GenerateError::invalid("comments", why));
        }
        let missing = || GenerateError::invalid("image", "is missing; send the encoded file");
        let (image, blake3) = hashed(request.image.ok_or_else(missing)?, "image")?;
        at_most("image.data", image.len(), self.limits.max_image_bytes)?;
        Ok(Spec {
            candidate_id: request.request_id,
            source: Some(image),
            source_blake3: blake3,
            prompt: request.prompt,
            parameters: request.parameters.into_iter().collect(),
            budget: request.budget,
            words: Wanted {
                labels: request.labels,
                comments,
            },
            ..Spec::default()
        })
    }

    async fn words(
        &self,
        request: proto::DescribeRequest,
    ) -> Result<proto::DescribeResponse, GenerateError> {
        let backend = self.backends.find(&request.backend)?;
        let spec = self.check(request)?;
        let begun = Instant::now();
        let made = backend.generate(spec.clone()).await?;
        let (outcome, words, message) = match made.outcome {
            Outcome::Text(text) => match spec.words.read(&text) {
                Ok(words) => (proto::Outcome::Text, Some(words), String::new()),
                Err(why) => (proto::Outcome::Undecodable, None, why.to_string()),
            },
            Outcome::Without(why, message) => (why.kind(), None, message),
            Outcome::Image(_) => {
                let why = "an image where words were asked for".to_owned();
                return Err(GenerateError::Internal(why));
            }
        };
        let (caption, labels, comments) = match words {
            Some(Words {
                caption,
                labels,
                comments,
            }) => (caption, labels, comments),
            None => Default::default(),
        };
        let description = backend.describe();
        Ok(proto::DescribeResponse {
            outcome: outcome.into(),
            caption,
            labels,
            comments,
            message,
            provenance: Some(provenance(
                spec,
                &description,
                made.parameters,
                made.cost_usd,
                begun,
            )),
        })
    }
}

#[tonic::async_trait]
impl TextService for Text {
    async fn describe(
        &self,
        request: Request<proto::DescribeRequest>,
    ) -> Result<Response<proto::DescribeResponse>, Status> {
        let span = tracing::info_span!("describe");
        let words = self.words(request.into_inner());
        Ok(Response::new(
            tracing::Instrument::instrument(words, span).await?,
        ))
    }
}
