//! CLIP (Radford et al. 2021), as transformers' `CLIPModel`: a pre-norm vision tower and a causal text tower that
//! end in one space, where the cosine of a picture and a sentence says how well they match.

mod config;
mod towers;

pub use config::{Config, LEGACY_EOS, TextConfig, VisionConfig};
pub use towers::NAMES;

use crate::checkpoint::Architecture;
use crate::error::{ModelError, Result};
use crate::fused::Sealing;
use crate::layers::{Linear, check_pixels, unit_rows};
use crate::model::{Base, Model, max_difference};
use crate::tokenizer::Tokens;
use crate::weights::Init;
use saga_kernels::Ranges;
use tch::{Device, Kind, Tensor};
pub(crate) use towers::TextModel;
use towers::VisionModel;

/// A CLIP with its weights.
pub struct Clip {
    base: Base<Config>,
    text_model: TextModel,
    vision_model: VisionModel,
    text_projection: Linear,
    visual_projection: Linear,
    logit_scale: Tensor,
}

impl Clip {
    /// exp(logit_scale): what cosines are multiplied by before a softmax over candidates.
    pub fn logit_scale(&self) -> Result<f64> {
        Ok(self.logit_scale.f_exp()?.f_double_value(&[])?)
    }

    /// The trainable logarithm of the scale, for a contrastive loss.
    pub fn log_scale(&self) -> &Tensor {
        &self.logit_scale
    }

    /// L2-normalised embeddings [N, projection_dim] in f32 of `pixel_values` [N, channels, side, side].
    pub fn image_embeds(&self, pixel_values: &Tensor) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        self.image_embeds_t(pixel_values)
    }

    /// L2-normalised embeddings [N, projection_dim] in f32 of tokenised sentences.
    pub fn text_embeds(&self, sentences: &[Tokens]) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        self.text_embeds_t(sentences)
    }

    /// [`Self::image_embeds`] with gradients.
    pub fn image_embeds_t(&self, pixel_values: &Tensor) -> Result<Tensor> {
        let vision = &self.base.config.vision_config;
        check_pixels(pixel_values, vision.num_channels, vision.image_size)?;
        let pixels = pixel_values
            .f_to_device(self.device())?
            .f_to_kind(self.base.precision.kind())?;
        unit_rows(
            &self
                .visual_projection
                .forward(&self.vision_model.forward(&pixels)?)?,
        )
    }

    /// [`Self::text_embeds`] with gradients.
    pub fn text_embeds_t(&self, sentences: &[Tokens]) -> Result<Tensor> {
        let ends = sentences
            .iter()
            .map(|tokens| self.base.config.text_config.end(tokens))
            .collect::<Result<Vec<i64>>>()?;
        let longest = ends
            .iter()
            .max()
            .ok_or_else(|| ModelError::Input("no sentence to embed".into()))?
            + 1;
        // Attention is causal, so that what follows the end has no influence: any padding will do.
        let padded = |tokens: &Tokens| {
            let ids = tokens
                .ids
                .iter()
                .map(|&id| i64::from(id))
                .chain(std::iter::repeat(0));
            ids.take(longest as usize).collect::<Vec<i64>>()
        };
        let ids: Vec<i64> = sentences.iter().flat_map(padded).collect();
        let ids = Tensor::f_from_slice(&ids)?.f_reshape([sentences.len() as i64, longest])?;
        let ends = Tensor::f_from_slice(&ends)?;
        let (ids, ends) = (
            ids.f_to_device(self.device())?,
            ends.f_to_device(self.device())?,
        );
        let pooled = self
            .text_model
            .forward(&ids, &ends, self.base.precision.kind())?;
        unit_rows(&self.text_projection.forward(&pooled)?)
    }

    fn device(&self) -> Device {
        self.base.weights.var_store().device()
    }
}

impl Model for Clip {
    type Config = Config;

    const KEPT_F32: &'static str = "logit_scale";
    /// Of a cosine.
    const MAX_DRIFT: f64 = 0.005;
    const OUTPUT: &'static str = "embeddings";

    fn build(base: Base<Config>) -> Result<Self> {
        let Base {
            config, weights, ..
        } = &base;
        config.check()?;
        let root = weights.root();
        let project = |name: &str, width: i64| {
            let init = Init::Normal((width as f64).powf(-0.5));
            Linear::without_bias(&root.at(name), width, config.projection_dim, init)
        };
        Ok(Self {
            text_model: TextModel::new(&root.at("text_model"), &config.text_config)?,
            vision_model: VisionModel::new(&root.at("vision_model"), &config.vision_config)?,
            text_projection: project("text_projection", config.text_config.hidden_size)?,
            visual_projection: project("visual_projection", config.vision_config.hidden_size)?,
            logit_scale: root.parameter(
                "logit_scale",
                &[],
                Init::Const(config.logit_scale_init_value),
            )?,
            base,
        })
    }

    fn config_of(architecture: &Architecture) -> Option<Config> {
        match architecture {
            Architecture::Clip(config) => Some(config.clone()),
            _ => None,
        }
    }

    fn base(&self) -> &Base<Config> {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base<Config> {
        &mut self.base
    }

    /// Sentences are embedded once each: their tower stays in floating point.
    fn seal(&mut self, sealing: &mut Sealing) -> Result<()> {
        self.text_model.seal()?;
        self.vision_model.seal(sealing)
    }

    fn take_seen(&self) -> Vec<Ranges> {
        self.vision_model.take_seen()
    }

    fn image_shape(&self) -> (i64, i64) {
        let vision = &self.base.config.vision_config;
        (vision.num_channels, vision.image_size)
    }

    fn canary_output(&self, pixel_values: &Tensor) -> Result<Tensor> {
        self.image_embeds(pixel_values)
    }

    fn drift(reference: &Tensor, output: &Tensor) -> Result<f64> {
        let cosine = reference
            .f_mul(output)?
            .f_sum_dim_intlist(-1, false, Kind::Float)?;
        max_difference(&cosine.f_ones_like()?, &cosine)
    }
}
