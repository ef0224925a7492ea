//! `saga.classifier.v1.ClassifierService`: messages to classifications and back.

use std::sync::Arc;

use futures::{StreamExt as _, stream::BoxStream};
use saga_chassis::status::{self, invalid_argument};
use saga_gate::{Call, check_image};
use saga_proto::classifier::v1::{
    ClassifyRequest, ClassifyResponse, ClassifyStreamRequest, ClassifyStreamResponse,
    classifier_service_server::ClassifierService, classify_stream_response::Outcome,
};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument as _, Span};

use crate::{
    predictions::{probabilities, top},
    service::Inference,
};

/// The service; clones share everything.
#[derive(Clone)]
pub(crate) struct Classify {
    pub(crate) inference: Arc<Inference>,
    pub(crate) max_image_bytes: usize,
    pub(crate) max_in_flight: usize,
}

impl Classify {
    async fn one(
        &self,
        fields: Fields,
        request: ClassifyRequest,
        call: Call,
    ) -> Result<ClassifyResponse, Status> {
        let ClassifyRequest {
            image,
            model,
            top_k,
            threshold,
            with_features,
        } = request;
        if !(0.0..=1.0).contains(&threshold) {
            return Err(invalid_argument(
                fields.threshold,
                format!("is {threshold}; it must lie in 0 to 1"),
            ));
        }
        let held = self.inference.models.get(&model)?;
        let image = check_image(fields.image, image, self.max_image_bytes)?;
        let (answer, timing) = self
            .inference
            .classify(&held, fields.image, image, with_features, call)
            .await?;
        Ok(ClassifyResponse {
            predictions: top(
                &probabilities(&answer.logits),
                &held.model.labels,
                top_k,
                threshold,
            ),
            model: Some(held.version()),
            timing: Some(timing),
            features: answer.features,
        })
    }

    async fn item(&self, item: ClassifyStreamRequest, call: Call) -> ClassifyStreamResponse {
        let answer = match item.request {
            Some(request) => self.one(STREAM, request, call.arriving()).await,
            None => Err(invalid_argument("request", "is missing")),
        };
        let outcome = match answer {
            Ok(response) => Outcome::Response(response),
            Err(error) => Outcome::Error(status::item(&error)),
        };
        ClassifyStreamResponse {
            sequence: item.sequence,
            outcome: Some(outcome),
        }
    }
}

/// Names of the fields, for errors.
#[derive(Clone, Copy)]
struct Fields {
    image: &'static str,
    threshold: &'static str,
}

const UNARY: Fields = Fields {
    image: "image",
    threshold: "threshold",
};
const STREAM: Fields = Fields {
    image: "request.image",
    threshold: "request.threshold",
};

#[tonic::async_trait]
impl ClassifierService for Classify {
    type ClassifyStreamStream = BoxStream<'static, Result<ClassifyStreamResponse, Status>>;

    async fn classify(
        &self,
        request: Request<ClassifyRequest>,
    ) -> Result<Response<ClassifyResponse>, Status> {
        let call = Call::unary(request.metadata())?;
        Ok(Response::new(
            self.one(UNARY, request.into_inner(), call).await?,
        ))
    }

    async fn classify_stream(
        &self,
        request: Request<Streaming<ClassifyStreamRequest>>,
    ) -> Result<Response<Self::ClassifyStreamStream>, Status> {
        let call = Call::stream(request.metadata())?;
        let (service, span) = (self.clone(), Span::current());
        // An error of the transport ends the stream; an error of an item is that item's answer.
        let answers = request.into_inner().map(move |item| {
            let (service, span) = (service.clone(), span.clone());
            async move { Ok::<_, Status>(service.item(item?, call).await) }.instrument(span)
        });
        Ok(Response::new(
            answers.buffer_unordered(self.max_in_flight).boxed(),
        ))
    }
}
