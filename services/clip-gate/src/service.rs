//! From encoded images and texts to embeddings: decode or tokenise, batch, compute.

use std::{borrow::Cow, sync::Arc};

use futures::future::try_join_all;
use saga_chassis::status::{internal, invalid_argument};
use saga_gate::{Call, EncodedImage};
use saga_proto::r#type::v1::Timing;
use saga_serving::{Decoded, Decoding, Held, Registry, timing};
use tonic::Status;

use crate::{
    model::{ClipLoader, ClipModel, Embedding, Input},
    prompts::Prompt,
};

/// Longest text in bytes: far more than any context holds, and little enough that tokenising it takes no time.
const MAX_TEXT_BYTES: usize = 8 << 10;

/// Checks the text in the message field `field`.
///
/// # Errors
/// INVALID_ARGUMENT on `field` where it is too long.
pub(crate) fn check_text(field: &str, text: &str) -> Result<(), Status> {
    if text.len() > MAX_TEXT_BYTES {
        let why = format!("has {} bytes and the limit is {MAX_TEXT_BYTES}", text.len());
        return Err(invalid_argument(field, why));
    }
    Ok(())
}

/// What the gate and the CLIP service share.
pub(crate) struct Inference {
    pub(crate) models: Arc<Registry<ClipLoader>>,
    pub(crate) decoding: Decoding,
}

impl Inference {
    /// The embedding of the image that came in the message field `field`.
    pub(crate) async fn image(
        &self,
        held: &Held<ClipModel>,
        field: impl Into<Cow<'static, str>>,
        image: EncodedImage,
        call: Call,
    ) -> Result<(Embedding, Timing), Status> {
        held.model.worker.admit(call)?;
        let preprocess = Arc::clone(&held.model.preprocess);
        let Decoded {
            pixels,
            queue,
            decode,
        } = self.decoding.pixels(field, image, preprocess, call).await?;
        let batched = held.model.worker.submit(Input::Image(pixels), call).await?;
        let timing = timing(queue, decode, &batched);
        Ok((batched.output, timing))
    }

    /// The embeddings of checked texts, in order. They wait for room even in a unary call: its number of texts is bounded.
    pub(crate) async fn texts(
        &self,
        held: &Held<ClipModel>,
        texts: &[String],
        call: Call,
    ) -> Result<Vec<Arc<Prompt>>, Status> {
        let call = call.waiting();
        try_join_all(texts.iter().map(|text| embedded(&held.model, text, call))).await
    }
}

async fn embedded(model: &ClipModel, text: &str, call: Call) -> Result<Arc<Prompt>, Status> {
    if let Some(prompt) = model.prompts.get(text) {
        return Ok(prompt);
    }
    let tokens = model
        .tokenizer
        .encode(text)
        .map_err(|error| internal("TOKENIZER_FAILED", error.to_string()))?;
    let truncated = tokens.truncated;
    let embedding = model.worker.submit(Input::Text(tokens), call).await?.output;
    let prompt = Arc::new(Prompt {
        embedding,
        truncated,
    });
    model.prompts.put(text, &prompt);
    Ok(prompt)
}

/// Cosine of two unit vectors, -1 to 1.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_is_the_dot_product() {
        assert!(cosine(&[0.6, 0.8], &[0.8, -0.6]).abs() < 1e-7);
        assert_eq!(cosine(&[1.0, 0.0], &[1.0, 0.0]), 1.0);
    }
}
