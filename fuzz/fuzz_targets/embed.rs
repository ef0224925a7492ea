//! `ClipService.EmbedImage`, `EmbedText` and `Score`.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use saga_fuzz::{
    image::Image,
    service::Service,
    text::{Model, Text},
};
use saga_proto::clip::v1::{
    EmbedImageRequest, EmbedTextRequest, ScoreRequest, clip_service_client::ClipServiceClient,
};

static SERVICE: LazyLock<Service> = LazyLock::new(Service::clip_gate);

#[derive(Debug, Arbitrary)]
enum Call {
    EmbedImage(Option<Image>, Model),
    EmbedText(Vec<Text>, Model),
    Score(Option<Image>, Vec<Text>, Model),
    /// More texts than one call may bring, or just as many.
    Many(u16),
}

fuzz_target!(|call: Call| match call {
    Call::EmbedImage(image, model) => {
        let request = EmbedImageRequest {
            image: image.map(Into::into),
            model: model.into(),
        };
        let ask = async |routes| ClipServiceClient::new(routes).embed_image(request).await;
        if let Some(answer) = SERVICE.ask(ask) {
            unit(&answer.embedding);
        }
    }
    Call::EmbedText(texts, model) => embed_text(texts.into_iter().map(Into::into).collect(), model),
    Call::Many(count) => embed_text(
        vec![String::new(); usize::from(count % 1_200)],
        Model::Default
    ),
    Call::Score(image, prompts, model) => {
        let request = ScoreRequest {
            image: image.map(Into::into),
            prompts: prompts.into_iter().map(Into::into).collect(),
            model: model.into(),
        };
        let ask = async |routes| ClipServiceClient::new(routes).score(request).await;
        if let Some(answer) = SERVICE.ask(ask) {
            let sum: f64 = answer.scores.iter().map(|score| score.probability).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        }
    }
});

fn embed_text(texts: Vec<String>, model: Model) {
    let request = EmbedTextRequest {
        texts,
        model: model.into(),
    };
    let ask = async |routes| ClipServiceClient::new(routes).embed_text(request).await;
    for text in SERVICE
        .ask(ask)
        .into_iter()
        .flat_map(|answer| answer.embeddings)
    {
        unit(&text.embedding);
    }
}

fn unit(embedding: &[f32]) {
    let norm: f32 = embedding.iter().map(|value| value * value).sum();
    assert!((norm - 1.0).abs() < 1e-3, "{norm}");
}
