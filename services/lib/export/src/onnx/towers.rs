//! What of a model directory becomes a file: a graph, and the model's own answers to hold it against.

use crate::error::Result;
use crate::onnx::graph::Graph;
use crate::onnx::{clip, resnet, vit};
use saga_models::checkpoint::{Architecture, Checkpoint};
use saga_models::clip::{Clip, LEGACY_EOS, TextConfig};
use saga_models::preprocess::Preprocessor;
use saga_models::resnet::ResNetClassifier;
use saga_models::tch::{Device, Kind, Tensor};
use saga_models::tokenizer::Tokens;
use saga_models::vit::VitClassifier;
use saga_models::{Labels, Model, ModelError, Runtime, directory};
use std::path::Path;
use std::rc::Rc;

type Answers = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

/// A file to be.
pub(crate) struct Tower {
    pub(crate) file: &'static str,
    pub(crate) graph: Graph,
    /// Whether it takes pictures.
    pub(crate) sees: bool,
    /// An input that a graph is held against the model with.
    pub(crate) sample: Tensor,
    /// What the model itself gives for an input of the graph.
    pub(crate) answers: Answers,
}

/// What a model directory becomes.
pub(crate) struct Exportable {
    /// In f32.
    pub(crate) towers: Vec<Tower>,
    pub(crate) preprocessor: Preprocessor,
    /// What every file says of the model beside its graph.
    pub(crate) metadata: Vec<(String, String)>,
}

impl Exportable {
    /// # Errors
    /// As [`Model::load_to_train`]: whatever does not fit exactly is refused.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::read(dir)?;
        let preprocessor = checkpoint.preprocessor()?;
        let (model_type, about, towers) = match checkpoint.architecture() {
            Architecture::Vit(config) => ("vit", labels(&config.classes), vec![vit(config, dir)?]),
            Architecture::ResNet(config) => {
                let tower = resnet(config, preprocessor.output_size(), dir)?;
                ("resnet", labels(&config.classes), vec![tower])
            }
            Architecture::Clip(config) => {
                let model = Clip::load_to_train(dir, Runtime::REFERENCE)?;
                let about = ("logit_scale", model.logit_scale()?.to_string());
                ("clip", about, clip(config, model)?)
            }
        };
        // Of strings and numbers, which can always be told.
        let preprocessing = serde_json::to_string(preprocessor.config()).unwrap_or_default();
        let metadata = [
            ("model_type", model_type.to_owned()),
            ("revision", directory::revision(dir)?),
            ("preprocessor_config", preprocessing),
            about,
        ];
        Ok(Self {
            towers,
            preprocessor,
            metadata: metadata
                .map(|(key, value)| (key.to_owned(), value))
                .to_vec(),
        })
    }
}

fn labels(labels: &Labels) -> (&'static str, String) {
    ("labels", serde_json::json!(labels.names()).to_string())
}

fn vit(config: &saga_models::vit::Config, dir: &Path) -> Result<Tower> {
    let model = VitClassifier::load_to_train(dir, Runtime::REFERENCE)?;
    let graph = vit::graph(config, &model.weights().tensors())?;
    let sample = noise(config.num_channels, (config.image_size, config.image_size))?;
    Ok(classifier(
        graph,
        sample,
        Box::new(move |pixels| Ok(model.forward(pixels)?)),
    ))
}

fn resnet(
    config: &saga_models::resnet::Config,
    (height, width): (u32, u32),
    dir: &Path,
) -> Result<Tower> {
    let size = (height.into(), width.into());
    let model = ResNetClassifier::load_to_train(dir, Runtime::REFERENCE)?;
    let graph = resnet::graph(config, size, &model.weights().tensors())?;
    let sample = noise(config.num_channels, size)?;
    Ok(classifier(
        graph,
        sample,
        Box::new(move |pixels| Ok(model.forward(pixels)?)),
    ))
}

fn clip(config: &saga_models::clip::Config, model: Clip) -> Result<Vec<Tower>> {
    let tensors = model.weights().tensors();
    let side = config.vision_config.image_size;
    let model = Rc::new(model);
    let vision = Rc::clone(&model);
    Ok(vec![
        Tower {
            file: "vision_model.onnx",
            graph: clip::image_tower(config, &tensors)?,
            sees: true,
            sample: noise(config.vision_config.num_channels, (side, side))?,
            answers: Box::new(move |pixels| Ok(vision.image_embeds(pixels)?)),
        },
        Tower {
            file: "text_model.onnx",
            graph: clip::text_tower(config, &tensors)?,
            sees: false,
            sample: sentences(&config.text_config)?,
            answers: Box::new(move |ids| Ok(model.text_embeds(&tokens(ids)?)?)),
        },
    ])
}

fn classifier(graph: Graph, sample: Tensor, answers: Answers) -> Tower {
    Tower {
        file: "model.onnx",
        graph,
        sees: true,
        sample,
        answers,
    }
}

/// Two pictures of smooth noise.
fn noise(channels: i64, (height, width): (i64, i64)) -> Result<Tensor> {
    let shape = [2, channels, height, width];
    let ramp = Tensor::f_arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu))?;
    Ok(ramp.f_mul_scalar(0.37)?.f_sin()?.f_reshape(shape)?)
}

/// Two sentences of different length, the shorter one padded.
fn sentences(config: &TextConfig) -> Result<Tensor> {
    let (begin, end) = (i64::from(config.bos_token_id), last_token(config));
    let words = config.max_position_embeddings.min(8) - 2;
    let word = |index: i64| (index * 7 + 5) % end.max(1);
    let mut long = vec![begin];
    long.extend((0..words).map(word));
    long.push(end);
    let mut short = vec![begin, end];
    short.resize(long.len(), 0);
    let rows = Tensor::f_from_slice(&[long, short].concat())?;
    Ok(rows.f_reshape([2, -1])?)
}

/// The end token; in old configurations, which do not tell it, the last of the vocabulary.
fn last_token(config: &TextConfig) -> i64 {
    match config.eos_token_id {
        LEGACY_EOS => config.vocab_size - 1,
        end => end.into(),
    }
}

fn tokens(ids: &Tensor) -> Result<Vec<Tokens>> {
    let rows = Vec::<Vec<i64>>::try_from(ids)?;
    let tokens = rows.into_iter().map(|row| {
        let ids = row
            .into_iter()
            .map(u32::try_from)
            .collect::<std::result::Result<_, _>>();
        let ids = ids.map_err(|_| ModelError::Input("token ids are not negative".to_owned()))?;
        Ok(Tokens {
            ids,
            truncated: false,
        })
    });
    tokens.collect()
}
