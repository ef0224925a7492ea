//! The service with tiny models of random weights, on loopback.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::{io::Cursor, path::Path};

use image::{ImageFormat, RgbImage};
use saga_chassis::Running;
use saga_client::{Transport, connect};
use saga_models::{Model as _, Runtime, directory, preprocess, vit};
use saga_proto::{
    model::v1::{LoadModelRequest, model_service_client::ModelServiceClient},
    r#type::v1::Image,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use vit_classifier::{Config, start};

pub const LABELS: [&str; 3] = ["happy", "sad", "fear"];

pub fn write_model(path: &Path, seed: u64) {
    let config = vit::Config {
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 64,
        image_size: 16,
        patch_size: 8,
        ..vit::Config::default()
    };
    let model =
        vit::VitClassifier::new(config.with_labels(LABELS), Runtime::REFERENCE, seed).unwrap();
    directory::write_json(&path.join(directory::CONFIG), model.config()).unwrap();
    preprocess::Config::vit(16).write(path).unwrap();
    model
        .weights()
        .save(&path.join(directory::WEIGHTS))
        .unwrap();
}

pub fn png(seed: u8) -> Image {
    let picture = RgbImage::from_fn(20, 24, |x, y| {
        image::Rgb([x as u8 * 12, y as u8 * 10, seed.wrapping_mul(37)])
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    raw(file.into_inner())
}

pub fn raw(data: Vec<u8>) -> Image {
    Image {
        data: data.into(),
        blake3: String::new(),
    }
}

/// The service without a model, and a channel to it.
pub async fn empty() -> (Running, Transport) {
    with(Config::default()).await
}

/// The service without a model as `config` says, on a free port of loopback.
pub async fn with(mut config: Config) -> (Running, Transport) {
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.model.device = "cpu".to_owned();
    config.model.precision = "f32".to_owned();
    let running = start(config, CancellationToken::new()).await.unwrap();
    let transport = connect(&running.addr.to_string()).await.unwrap();
    (running, transport)
}

/// Puts a model of weights drawn from `seed` in service, and gives its folder.
pub async fn load(transport: &Transport, name: &str, seed: u64) -> TempDir {
    let model = tempfile::tempdir().unwrap();
    write_model(model.path(), seed);
    load_from(transport, name, model.path()).await;
    model
}

pub async fn load_from(transport: &Transport, name: &str, directory: &Path) {
    let request = LoadModelRequest {
        name: name.to_owned(),
        directory: directory.display().to_string(),
        make_default: false,
    };
    ModelServiceClient::new(transport.clone())
        .load_model(request)
        .await
        .unwrap();
}
