//! CLIP for clients of the Open Inference Protocol: models `clip-image` and `clip-text`, whose versions are the names that
//! models were loaded under.

use std::sync::Arc;

use futures::future::try_join_all;
use prost::bytes::Bytes;
use saga_chassis::status::invalid_argument;
use saga_gate::Call;
use saga_models::{clip::TextConfig, tokenizer::Tokens};
use saga_serving::{
    Held,
    open_inference::{
        Datatype, Elements, ModelSpec, OpenInference, Tensor, TensorSpec, encoded_images,
        pixel_rows,
    },
};
use tonic::Status;

use crate::{
    model::{ClipModel, Embedding, Input},
    service::{Inference, check_text},
};

const IMAGE: &str = "clip-image";
const TEXT: &str = "clip-text";

/// Images: `pixel_values` or `image` to `image_embeds`. Texts: `text` or `input_ids` to `text_embeds`. All unit vectors.
pub(crate) struct OpenClip {
    pub(crate) inference: Arc<Inference>,
    pub(crate) max_image_bytes: usize,
}

impl OpenClip {
    async fn embeddings(
        &self,
        held: &Held<ClipModel>,
        input: Tensor,
        call: Call,
    ) -> Result<Vec<Embedding>, Status> {
        let worker = &held.model.worker;
        match (input.name, input.elements) {
            ("image", Elements::Bytes(files)) => {
                let images = encoded_images(files, self.max_image_bytes)?;
                let answers = images.into_iter().map(|(field, image)| async move {
                    let (embedding, _) = self.inference.image(held, field, image, call).await?;
                    Ok(embedding)
                });
                try_join_all(answers).await
            }
            ("pixel_values", Elements::Fp32(pixels)) => {
                let rows = pixel_rows(&pixels, &input.shape)?;
                worker
                    .submit_all(rows.into_iter().map(Input::Image), call)
                    .await
            }
            ("text", Elements::Bytes(texts)) => {
                let texts = utf8(&texts)?;
                let prompts = self.inference.texts(held, &texts, call).await?;
                Ok(prompts
                    .iter()
                    .map(|prompt| prompt.embedding.clone())
                    .collect())
            }
            ("input_ids", Elements::Int64(ids)) => {
                let rows = token_rows(&ids, &input.shape, &held.model.text_config)?;
                worker
                    .submit_all(rows.into_iter().map(Input::Text), call)
                    .await
            }
            (name, _) => Err(invalid_argument("inputs[0].name", format!("is {name:?}"))),
        }
    }
}

/// Texts of a length that is tokenised.
fn utf8(texts: &[Bytes]) -> Result<Vec<String>, Status> {
    let text = |(index, bytes): (usize, &Bytes)| {
        let field = format!("inputs[0].contents[{index}]");
        match std::str::from_utf8(bytes) {
            Ok(text) => check_text(&field, text).map(|()| text.to_owned()),
            Err(error) => Err(invalid_argument(field, format!("is not UTF-8: {error}"))),
        }
    };
    texts.iter().enumerate().map(text).collect()
}

/// Token ids of shape `[N, length]`, as CLIP's tokenizer gives them. Rows that are no sentence are refused here: the model
/// would refuse the whole batch.
fn token_rows(ids: &[i64], shape: &[i64], config: &TextConfig) -> Result<Vec<Tokens>, Status> {
    let length = shape.get(1).map_or(1, |&length| length.max(1) as usize);
    let refused = |why: String| invalid_argument("inputs[0].contents", why);
    let id = |&id: &i64| {
        u32::try_from(id).map_err(|_| refused(format!("holds {id}; a token id is not negative")))
    };
    let row = |(index, row): (usize, &[i64])| {
        let tokens = Tokens {
            ids: row.iter().map(id).collect::<Result<_, Status>>()?,
            truncated: false,
        };
        match config.end(&tokens) {
            Ok(_) => Ok(tokens),
            Err(error) => Err(refused(format!("row {index}: {error}"))),
        }
    };
    ids.chunks_exact(length).enumerate().map(row).collect()
}

impl OpenInference for OpenClip {
    fn versions(&self) -> Vec<String> {
        self.inference.models.names()
    }

    fn models(&self, version: &str) -> Result<Vec<ModelSpec>, Status> {
        let held = self.inference.models.get(version)?;
        let spec = |name, datatype, shape: &[i64]| TensorSpec {
            name,
            datatype,
            shape: shape.to_vec(),
        };
        let (height, width) = held.model.input_size;
        let embeds = [-1, held.model.projection_dim];
        Ok(vec![
            ModelSpec {
                name: IMAGE,
                inputs: TensorSpec::images(height, width),
                outputs: vec![spec("image_embeds", Datatype::Fp32, &embeds)],
            },
            ModelSpec {
                name: TEXT,
                inputs: vec![
                    spec("text", Datatype::Bytes, &[-1]),
                    spec("input_ids", Datatype::Int64, &[-1, -1]),
                ],
                outputs: vec![spec("text_embeds", Datatype::Fp32, &embeds)],
            },
        ])
    }

    async fn infer(
        &self,
        model: &'static str,
        version: &str,
        input: Tensor,
        call: Call,
    ) -> Result<(String, Vec<Tensor>), Status> {
        let held = self.inference.models.get(version)?;
        let embeddings = self.embeddings(&held, input, call.waiting()).await?;
        let name = match model {
            TEXT => "text_embeds",
            _ => "image_embeds",
        };
        Ok((held.version().name, vec![Tensor::rows(name, embeddings)]))
    }
}
