//! The service over loopback, with a tiny model of random weights: the gate contract, and `ClipService`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{io::Cursor, path::Path};

use clip_gate::{Config, start};
use image::{ImageFormat, RgbImage};
use saga_chassis::{Running, status::reason};
use saga_client::{
    Transport,
    conformance::{self, Fixtures},
    connect,
};
use saga_models::{
    Model as _, Runtime,
    clip::{self, Clip, TextConfig, VisionConfig},
    directory, preprocess,
    tokenizer::Tokenizer,
};
use saga_proto::{
    clip::v1::{
        EmbedImageRequest, EmbedTextRequest, ScoreRequest, clip_service_client::ClipServiceClient,
    },
    gate::v1::{EvaluateRequest, Item, gate_service_client::GateServiceClient},
    inference::{
        InferTensorContents, ModelInferRequest,
        grpc_inference_service_client::GrpcInferenceServiceClient,
        model_infer_request::InferInputTensor,
    },
    model::v1::{LoadModelRequest, model_service_client::ModelServiceClient},
    r#type::v1::Image,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

const PROMPTS: [&str; 3] = [
    "a photo of a happy face",
    "a photo of a sad face",
    "a photo of a fearful face",
];
/// Longest text of the model, in tokens.
const CONTEXT: usize = 24;

fn write_model(path: &Path) {
    let tokenizer = Tokenizer::train(PROMPTS, 60, CONTEXT).unwrap();
    let model = Clip::new(config(&tokenizer), Runtime::REFERENCE, 1).unwrap();
    directory::write_json(&path.join(directory::CONFIG), model.config()).unwrap();
    preprocess::Config::clip(16).write(path).unwrap();
    tokenizer.write(path).unwrap();
    let weights = path.join(directory::WEIGHTS);
    model.weights().save(&weights).unwrap();
}

fn config(tokenizer: &Tokenizer) -> clip::Config {
    let (bos_token_id, eos_token_id) = tokenizer.bos_and_eos().unwrap();
    clip::Config {
        projection_dim: 16,
        text_config: TextConfig {
            vocab_size: tokenizer.vocab_size() as i64,
            hidden_size: 32,
            intermediate_size: 64,
            num_hidden_layers: 1,
            num_attention_heads: 4,
            max_position_embeddings: CONTEXT as i64,
            bos_token_id,
            eos_token_id,
            pad_token_id: eos_token_id,
            ..TextConfig::default()
        },
        vision_config: VisionConfig {
            hidden_size: 32,
            intermediate_size: 64,
            num_hidden_layers: 1,
            num_attention_heads: 4,
            image_size: 16,
            patch_size: 8,
            ..VisionConfig::default()
        },
        ..clip::Config::default()
    }
}

/// The service without a model, and a channel to it.
async fn empty() -> (Running, Transport) {
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.model.device = "cpu".to_owned();
    config.model.precision = "f32".to_owned();
    let running = start(config, CancellationToken::new()).await.unwrap();
    let transport = connect(&running.addr.to_string()).await.unwrap();
    (running, transport)
}

/// The service with the tiny model.
async fn loaded() -> (Running, Transport) {
    let (running, transport) = empty().await;
    let model = tempfile::tempdir().unwrap();
    write_model(model.path());
    let request = LoadModelRequest {
        name: "tiny".to_owned(),
        directory: model.path().display().to_string(),
        make_default: true,
    };
    let mut models = ModelServiceClient::new(transport.clone());
    models.load_model(request).await.unwrap();
    (running, transport)
}

fn png(seed: u8) -> Vec<u8> {
    let picture = RgbImage::from_fn(20, 24, |x, y| {
        image::Rgb([x as u8 * 12, y as u8 * 10, seed.wrapping_mul(37)])
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

fn message(data: Vec<u8>) -> Option<Image> {
    Some(Image {
        data: data.into(),
        blake3: String::new(),
    })
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    products.sum()
}

#[tokio::test]
async fn it_keeps_the_gate_contract() {
    let (running, _) = loaded().await;
    let fixtures = Fixtures {
        source: png(1).into(),
        candidate: png(2).into(),
        target_label: "happy".to_owned(),
        prompt: PROMPTS[0].to_owned(),
    };
    let address = running.addr.to_string();
    let report = conformance::check(&address, &fixtures).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.gate, "clip");
    assert_eq!(report.checks.len(), 21, "{report}");
}

#[tokio::test]
async fn embeddings_are_unit_vectors_and_scores_their_cosines() {
    let (_running, transport) = loaded().await;
    let mut client = ClipServiceClient::new(transport.clone());
    let image = EmbedImageRequest {
        image: message(png(3)),
        model: String::new(),
    };
    let image = client.embed_image(image).await.unwrap().into_inner();
    assert_eq!(image.embedding.len(), 16);
    assert!((dot(&image.embedding, &image.embedding) - 1.0).abs() < 1e-5);
    assert_eq!(image.model.as_ref().unwrap().id, "clip-vit-patch8-16");
    assert!(image.timing.is_some());

    let texts = EmbedTextRequest {
        texts: owned(&PROMPTS),
        model: "tiny".to_owned(),
    };
    let texts = client.embed_text(texts).await.unwrap().into_inner();
    assert_eq!((texts.embeddings.len(), &texts.model), (3, &image.model));

    let request = ScoreRequest {
        image: message(png(3)),
        prompts: owned(&PROMPTS),
        model: String::new(),
    };
    let scores = client.score(request).await.unwrap().into_inner().scores;
    for ((score, text), prompt) in scores.iter().zip(&texts.embeddings).zip(PROMPTS) {
        assert_eq!(score.prompt, prompt);
        assert!((score.cosine - dot(&image.embedding, &text.embedding)).abs() < 1e-5);
    }
    let sum: f64 = scores.iter().map(|score| score.probability).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");

    let item = Item {
        candidate: message(png(3)),
        prompt: PROMPTS[1].to_owned(),
        ..Item::default()
    };
    let request = EvaluateRequest { item: Some(item) };
    let mut gate = GateServiceClient::new(transport);
    let answer = gate.evaluate(request).await.unwrap().into_inner();
    assert!((answer.verdict.unwrap().score - scores[1].cosine).abs() < 1e-5);
}

#[tokio::test]
async fn long_texts_are_cut_and_say_so() {
    let (_running, transport) = loaded().await;
    let request = EmbedTextRequest {
        texts: owned(&[PROMPTS[0], &PROMPTS[0].repeat(40)]),
        model: String::new(),
    };
    let mut client = ClipServiceClient::new(transport);
    let answer = client.embed_text(request).await.unwrap().into_inner();
    let cut: Vec<bool> = answer
        .embeddings
        .iter()
        .map(|text| text.truncated)
        .collect();
    assert_eq!(cut, [false, true]);
}

#[tokio::test]
async fn refusals_name_the_field_and_the_limit() {
    let (_running, transport) = loaded().await;
    let mut client = ClipServiceClient::new(transport);
    for texts in [vec![], vec!["a".to_owned(); 1_001]] {
        let count = texts.len();
        let request = EmbedTextRequest {
            texts: texts.clone(),
            model: String::new(),
        };
        let status = client.embed_text(request).await.unwrap_err();
        refuses(&status, &["texts", &count.to_string(), "1 to 1000"]);
        let request = ScoreRequest {
            image: message(png(0)),
            prompts: texts,
            model: String::new(),
        };
        let status = client.score(request).await.unwrap_err();
        refuses(&status, &["prompts", &count.to_string(), "1 to 1000"]);
    }
    let request = EmbedTextRequest {
        texts: vec![String::new(), "word ".repeat(2_000)],
        model: String::new(),
    };
    let status = client.embed_text(request).await.unwrap_err();
    refuses(&status, &["texts[1]", "10000 bytes", "8192"]);
    for image in [None, message(vec![]), message(b"plain text".to_vec())] {
        let request = EmbedImageRequest {
            image,
            model: String::new(),
        };
        let status = client.embed_image(request).await.unwrap_err();
        refuses(&status, &["image"]);
    }
    let request = EmbedTextRequest {
        texts: owned(&PROMPTS),
        model: "other".to_owned(),
    };
    let status = client.embed_text(request).await.unwrap_err();
    let known = (status.code(), reason(&status));
    assert_eq!(known, (Code::NotFound, Some("MODEL_UNKNOWN".to_owned())));
}

#[tokio::test]
async fn without_a_model_it_says_so() {
    let (running, transport) = empty().await;
    assert!(!running.readiness.is_ready());
    let request = EmbedTextRequest {
        texts: owned(&PROMPTS),
        model: String::new(),
    };
    let mut client = ClipServiceClient::new(transport);
    let status = client.embed_text(request).await.unwrap_err();
    let known = (status.code(), reason(&status));
    let wanted = (
        Code::FailedPrecondition,
        Some("MODEL_NOT_LOADED".to_owned()),
    );
    assert_eq!(known, wanted);
}

fn refuses(status: &Status, words: &[&str]) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    for word in words {
        assert!(status.message().contains(word), "{word}: {status}");
    }
}

#[tokio::test]
async fn open_inference_gives_the_same_embeddings() {
    let (_running, transport) = loaded().await;
    let mut open = saga_client::limited!(GrpcInferenceServiceClient::new(transport.clone()));
    let mut infer = async |model: &str, name: &str, contents: Vec<u8>| {
        let input = InferInputTensor {
            name: name.to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![1],
            contents: Some(InferTensorContents {
                bytes_contents: vec![contents.into()],
                ..InferTensorContents::default()
            }),
            ..InferInputTensor::default()
        };
        let request = ModelInferRequest {
            model_name: model.to_owned(),
            inputs: vec![input],
            ..ModelInferRequest::default()
        };
        let mut answer = open.model_infer(request).await?.into_inner();
        let contents = answer.outputs.remove(0).contents.unwrap();
        Ok::<_, tonic::Status>(contents.fp32_contents)
    };
    let image = infer("clip-image", "image", png(1)).await.unwrap();
    let text = infer("clip-text", "text", b"a happy face".to_vec())
        .await
        .unwrap();
    let own = saga_client::limited!(ClipServiceClient::new(transport.clone()))
        .score(ScoreRequest {
            image: message(png(1)),
            prompts: owned(&["a happy face"]),
            ..ScoreRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert!((dot(&image, &text) - own.scores[0].cosine).abs() < 1e-6);
    let status = infer("clip-text", "text", vec![0xff]).await.unwrap_err();
    assert!(status.message().contains("UTF-8"), "{status}");
}

#[tokio::test]
async fn token_ids_that_are_no_sentence_are_the_callers_fault() {
    let (running, transport) = loaded().await;
    let mut open = saga_client::limited!(GrpcInferenceServiceClient::new(transport));
    let far = vec![1; CONTEXT + 1];
    for ids in [&[1_i64, 2][..], &[1, 1 << 20], &[-1], &far] {
        let input = InferInputTensor {
            name: "input_ids".to_owned(),
            datatype: "INT64".to_owned(),
            shape: vec![1, ids.len() as i64],
            contents: Some(InferTensorContents {
                int64_contents: ids.to_vec(),
                ..InferTensorContents::default()
            }),
            ..InferInputTensor::default()
        };
        let request = ModelInferRequest {
            model_name: "clip-text".to_owned(),
            inputs: vec![input],
            ..ModelInferRequest::default()
        };
        let status = open.model_infer(request).await.unwrap_err();
        refuses(&status, &["inputs[0].contents"]);
    }
    assert!(running.readiness.is_ready());
}
