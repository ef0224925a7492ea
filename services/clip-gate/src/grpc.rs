//! `saga.clip.v1.ClipService`: messages to embeddings and back.

use std::sync::Arc;

use saga_chassis::status::invalid_argument;
use saga_gate::{Call, check_image};
use saga_proto::clip::v1::{
    EmbedImageRequest, EmbedImageResponse, EmbedTextRequest, EmbedTextResponse, PromptScore,
    ScoreRequest, ScoreResponse, TextEmbedding, clip_service_server::ClipService,
};
use saga_serving::softmax;
use tonic::{Request, Response, Status};

use crate::service::{Inference, check_text, cosine};

/// Most texts or prompts of one call.
const MAX_TEXTS: usize = 1_000;

/// The service.
pub(crate) struct Embed {
    pub(crate) inference: Arc<Inference>,
    pub(crate) max_image_bytes: usize,
}

fn check_texts(field: &str, texts: &[String]) -> Result<(), Status> {
    if texts.is_empty() || texts.len() > MAX_TEXTS {
        return Err(invalid_argument(
            field,
            format!("has {} entries; 1 to {MAX_TEXTS} are allowed", texts.len()),
        ));
    }
    let check = |(index, text): (usize, &String)| check_text(&format!("{field}[{index}]"), text);
    texts.iter().enumerate().try_for_each(check)
}

#[tonic::async_trait]
impl ClipService for Embed {
    async fn embed_image(
        &self,
        request: Request<EmbedImageRequest>,
    ) -> Result<Response<EmbedImageResponse>, Status> {
        let call = Call::unary(request.metadata())?;
        let EmbedImageRequest { image, model } = request.into_inner();
        let held = self.inference.models.get(&model)?;
        let image = check_image("image", image, self.max_image_bytes)?;
        let (embedding, timing) = self.inference.image(&held, "image", image, call).await?;
        Ok(Response::new(EmbedImageResponse {
            embedding,
            model: Some(held.version()),
            timing: Some(timing),
        }))
    }

    async fn embed_text(
        &self,
        request: Request<EmbedTextRequest>,
    ) -> Result<Response<EmbedTextResponse>, Status> {
        let call = Call::unary(request.metadata())?;
        let EmbedTextRequest { texts, model } = request.into_inner();
        check_texts("texts", &texts)?;
        let held = self.inference.models.get(&model)?;
        let embedded = self.inference.texts(&held, &texts, call).await?;
        let embeddings = embedded
            .iter()
            .map(|text| TextEmbedding {
                embedding: text.embedding.clone(),
                truncated: text.truncated,
            })
            .collect();
        Ok(Response::new(EmbedTextResponse {
            embeddings,
            model: Some(held.version()),
        }))
    }

    async fn score(
        &self,
        request: Request<ScoreRequest>,
    ) -> Result<Response<ScoreResponse>, Status> {
        let call = Call::unary(request.metadata())?;
        let ScoreRequest {
            image,
            prompts,
            model,
        } = request.into_inner();
        check_texts("prompts", &prompts)?;
        let held = self.inference.models.get(&model)?;
        let image = check_image("image", image, self.max_image_bytes)?;
        let (image, timing) = self.inference.image(&held, "image", image, call).await?;
        let texts = self.inference.texts(&held, &prompts, call).await?;
        let cosines: Vec<f64> = texts
            .iter()
            .map(|text| cosine(&image, &text.embedding))
            .collect();
        let logits = cosines.iter().map(|cosine| held.model.logit_scale * cosine);
        let probabilities = softmax(logits);
        let scores = prompts
            .into_iter()
            .zip(cosines)
            .zip(probabilities)
            .map(|((prompt, cosine), probability)| PromptScore {
                prompt,
                cosine,
                probability,
            })
            .collect();
        Ok(Response::new(ScoreResponse {
            scores,
            model: Some(held.version()),
            timing: Some(timing),
        }))
    }
}
