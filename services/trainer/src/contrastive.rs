//! A small CLIP as a learner: images and the texts of their classes, drawn together by the symmetric contrastive loss.
//!
//! A batch's images meet one text drawn for each class of the data set, so the text tower runs on a handful of texts
//! a step however large the batch. Validation is what the gate will do: the first text of each class stands for it.

use std::path::Path;

use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;
use saga_models::{
    Model as _, ModelError, Runtime, clip, directory, golden, preprocess,
    tokenizer::{Tokenizer, Tokens},
    weights::Weights,
};
use tch::{Device, Tensor};

use crate::{
    data::Dataset,
    error::TrainError,
    fit::{Judged, Learner},
    loader::Batch,
    loss,
    pixels::Normaliser,
    request::{Architecture, Job},
    shapes, start,
};

/// Merged pairs of the tokenizer: enough for every word of the prompts to become one token.
const MERGES: usize = 1000;
/// Positions of the text tower, as CLIP's.
const MAX_TOKENS: usize = 77;
/// CLIP clips its scale at 100 (section 2.5 of the paper).
const MAX_LOG_SCALE: f64 = 4.605_170_185_988_092;

/// A CLIP in training.
pub struct Contrastive {
    model: clip::Clip,
    tokenizer: Tokenizer,
    normaliser: Normaliser,
    preprocessing: preprocess::Config,
    /// Texts of each class, in label order.
    texts: Vec<Vec<Tokens>>,
    device: Device,
}

impl Contrastive {
    /// A new model with a tokenizer made from the prompts, or both of `job.init_from`, for images that were prepared like this.
    pub fn new(
        job: &Job,
        dataset: &Dataset,
        preprocessing: preprocess::Config,
        runtime: Runtime,
    ) -> Result<Self, TrainError> {
        let prompts = prompts(job, &dataset.classes)?;
        let (model, tokenizer) = match &job.init_from {
            None => {
                let all = prompts
                    .iter()
                    .flat_map(|texts| texts.iter().map(String::as_str));
                let tokenizer = Tokenizer::train(all, MERGES, MAX_TOKENS)?;
                (
                    clip::Clip::new(config(&job.architecture, &tokenizer)?, runtime, job.seed)?,
                    tokenizer,
                )
            }
            Some(directory) => {
                let model = clip::Clip::load_to_train(directory, runtime)?;
                let found = shapes::json(&model.config().vision_config)?;
                shapes::same(&found, &shapes::json(&image_tower(&job.architecture))?)?;
                let positions = model.config().text_config.max_position_embeddings as usize;
                (model, Tokenizer::from_dir(directory, positions)?)
            }
        };
        let encode =
            |texts: &&Vec<String>| texts.iter().map(|text| tokenizer.encode(text)).collect();
        let texts = prompts
            .iter()
            .map(encode)
            .collect::<Result<_, ModelError>>()?;
        let normaliser = Normaliser::new(&preprocessing, runtime.device)?;
        if job.init_from.is_none() {
            start::from_scratch(&model.weights().tensors(), job.seed)?;
        }
        Ok(Self {
            model,
            tokenizer,
            normaliser,
            preprocessing,
            texts,
            device: runtime.device,
        })
    }

    /// Scaled cosines `[images, classes]` with the first text of each class, without dropout.
    pub fn logits(&self, images: &Tensor) -> Result<Tensor, TrainError> {
        let first: Vec<Tokens> = self
            .texts
            .iter()
            .filter_map(|texts| texts.first().cloned())
            .collect();
        let images = self
            .model
            .image_embeds(&self.normaliser.normalise(images)?)?;
        self.scaled(&images, &self.model.text_embeds(&first)?)
    }

    /// Scaled cosines `[images, texts]`.
    fn scaled(&self, images: &Tensor, texts: &Tensor) -> Result<Tensor, TrainError> {
        let scale = self.model.log_scale().f_clamp_max(MAX_LOG_SCALE)?.f_exp()?;
        Ok(images.f_matmul(&texts.f_tr()?)?.f_mul(&scale)?)
    }
}

impl Learner for Contrastive {
    fn weights(&self) -> &Weights {
        self.model.weights()
    }

    /// The Hugging Face directory's files and golden answers.
    fn write(&self, directory: &Path) -> Result<(), ModelError> {
        directory::write_json(&directory.join(directory::CONFIG), self.model.config())?;
        self.preprocessing.write(directory)?;
        self.tokenizer.write(directory)?;
        self.weights().save(&directory.join(directory::WEIGHTS))?;
        golden::record(directory)
    }

    fn loss(
        &mut self,
        Batch { images, labels, .. }: &Batch,
        random: &mut ChaCha8Rng,
    ) -> Result<Tensor, TrainError> {
        let mut classes = Vec::<i64>::try_from(labels)?;
        classes.sort_unstable();
        classes.dedup();
        let drawn = classes
            .iter()
            .filter_map(|&class| self.texts.get(class as usize)?.choose(random).cloned());
        let texts = self.model.text_embeds_t(&drawn.collect::<Vec<_>>())?;
        let images = self
            .model
            .image_embeds_t(&self.normaliser.normalise(images)?)?;
        let classes = Tensor::f_from_slice(&classes)?.f_to_device(self.device)?;
        loss::contrastive(&self.scaled(&images, &texts)?, labels, &classes)
    }

    fn validate(&self, images: &Tensor, labels: &Tensor, _: usize) -> Result<Judged, TrainError> {
        Judged::of_logits(&self.logits(images)?, labels)
    }
}

/// The texts of every class, in label order.
fn prompts<'a>(job: &'a Job, classes: &[String]) -> Result<Vec<&'a Vec<String>>, TrainError> {
    if let Some(label) = job.prompts.keys().find(|label| !classes.contains(label)) {
        let why = format!(
            "name '{label}', which is not a class of the data set ({})",
            classes.join(", ")
        );
        return Err(TrainError::field("prompts", why));
    }
    let texts = |label: &String| {
        let texts = job
            .prompts
            .get(label)
            .filter(|texts| texts.iter().any(|text| !text.trim().is_empty()));
        texts.ok_or_else(|| {
            TrainError::field(
                "prompts",
                format!("have no text for class '{label}'; add at least one"),
            )
        })
    };
    classes.iter().map(texts).collect()
}

/// The image tower as requested; a text tower of the same width and half the depth.
fn config(sizes: &Architecture, tokenizer: &Tokenizer) -> Result<clip::Config, TrainError> {
    let (bos_token_id, eos_token_id) = tokenizer.bos_and_eos()?;
    let width = sizes.hidden_size.into();
    Ok(clip::Config {
        projection_dim: width,
        text_config: clip::TextConfig {
            vocab_size: tokenizer.vocab_size() as i64,
            hidden_size: width,
            intermediate_size: sizes.intermediate_size.into(),
            num_hidden_layers: i64::from(sizes.num_hidden_layers.div_ceil(2)),
            num_attention_heads: sizes.num_attention_heads.into(),
            max_position_embeddings: MAX_TOKENS as i64,
            bos_token_id,
            eos_token_id,
            pad_token_id: eos_token_id,
            ..clip::TextConfig::default()
        },
        vision_config: image_tower(sizes),
        ..clip::Config::default()
    })
}

/// All that a request states of a CLIP.
fn image_tower(sizes: &Architecture) -> clip::VisionConfig {
    clip::VisionConfig {
        hidden_size: sizes.hidden_size.into(),
        intermediate_size: sizes.intermediate_size.into(),
        num_hidden_layers: sizes.num_hidden_layers.into(),
        num_attention_heads: sizes.num_attention_heads.into(),
        image_size: sizes.image_size.into(),
        patch_size: sizes.patch_size.into(),
        ..clip::VisionConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        request::{self, Kind},
        split::Split,
    };

    fn contrastive(change: impl FnOnce(&mut Job)) -> Result<Contrastive, TrainError> {
        let classes = ["red", "blue"].map(String::from);
        let text = |label: &String| (label.clone(), vec![format!("a {label} square")]);
        let mut job = Job {
            kind: Kind::Clip,
            prompts: classes.iter().map(text).collect(),
            ..request::tests::job()
        };
        change(&mut job);
        let dataset = Dataset {
            classes: classes.to_vec(),
            side: 32,
            train: Split::default(),
            val: Split::default(),
        };
        let preprocessing = preprocess::Config::clip(32);
        Contrastive::new(&job, &dataset, preprocessing, Runtime::REFERENCE)
    }

    #[test]
    fn a_checkpoint_s_weights_are_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let first = contrastive(|_| {}).unwrap();
        first.write(folder.path()).unwrap();
        let further = contrastive(|job| {
            job.seed = 9;
            job.init_from = Some(folder.path().to_owned());
        });
        let further = further.unwrap();
        assert_eq!(further.weights().tensors(), first.weights().tensors());
        let anew = contrastive(|job| job.seed = 9).unwrap();
        assert_ne!(anew.weights().tensors(), first.weights().tensors());
    }

    #[test]
    fn a_checkpoint_of_another_architecture_lists_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        contrastive(|_| {}).unwrap().write(folder.path()).unwrap();
        let refused = contrastive(|job| {
            job.init_from = Some(folder.path().to_owned());
            let sizes = &mut job.architecture;
            (sizes.hidden_size, sizes.num_hidden_layers) = (64, 3);
            (sizes.num_attention_heads, sizes.patch_size) = (4, 16);
            sizes.intermediate_size = 128;
        });
        let said = refused.err().unwrap().to_string();
        assert_eq!(
            said,
            "init_from: holds a model of another architecture than the request's: hidden_size is 32, not 64; intermediate_size is 64, \
             not 128; num_hidden_layers is 2, not 3; num_attention_heads is 2, not 4; patch_size is 8, not 16"
        );
    }
}
