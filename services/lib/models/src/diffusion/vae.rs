//! The autoencoder between pixels and latents (Kingma and Welling 2014; Rombach et al. 2022), as diffusers' `AutoencoderKL`;
//! field paths mirror the checkpoint's keys.

mod config;
mod decoder;
mod encoder;
mod tiling;

pub use config::Config;

use super::layers::{channels_last, image, pointwise, tokens};
use super::part;
use crate::checkpoint::Tensors;
use crate::error::{ModelError, Result};
use crate::fused::Fused;
use crate::runtime::Runtime;
use crate::weights::Weights;
use decoder::Decoder;
use encoder::Encoder;
use saga_kernels::Then;
use std::path::Path;
use tch::{Kind, Tensor};
use tiling::Tiles;

/// An autoencoder with its weights, for serving.
pub struct AutoencoderKL {
    config: Config,
    kind: Kind,
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Fused,
    post_quant_conv: Fused,
    /// Images larger than the autoencoder was trained on go through in overlapping tiles, in bounded memory; seams may show.
    pub tiling: bool,
}

/// What an image may be encoded as: a normal distribution of latents [N, latent_channels, height, width], in f32.
pub struct Posterior {
    pub mean: Tensor,
    pub deviation: Tensor,
}

impl AutoencoderKL {
    /// Loads the folder `dir` of a diffusers directory.
    ///
    /// # Errors
    /// [`ModelError::Component`] naming the folder and the file, configuration key or tensor.
    pub fn load(dir: &Path, runtime: Runtime) -> Result<Self> {
        let kind = runtime.precision.kind();
        let build = |config, weights: &Weights| Self::new(config, weights, kind);
        part::load(
            dir,
            runtime,
            Config::read,
            |tensors| Ok(renamed(tensors)),
            build,
        )
    }

    fn new(config: Config, weights: &Weights, kind: Kind) -> Result<Self> {
        let root = weights.root();
        let latent = config.latent_channels;
        let rows = config.rows(config.block_out_channels.len());
        Ok(Self {
            encoder: Encoder::new(&root.at("encoder"), &config)?,
            decoder: Decoder::new(&root.at("decoder"), &config)?,
            quant_conv: pointwise(&root.at("quant_conv"), 2 * latent, 2 * latent, rows)?,
            post_quant_conv: pointwise(&root.at("post_quant_conv"), latent, latent, rows)?,
            config,
            kind,
            tiling: false,
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Latents of `images` [N, in_channels, height, width] from -1 to 1, before they are scaled.
    ///
    /// # Errors
    /// [`ModelError::Input`] for other shapes.
    pub fn encode(&self, images: &Tensor) -> Result<Posterior> {
        let tiles = Tiles {
            from: self.config.sample_size,
            to: self.config.sample_size / self.config.scale(),
        };
        let encode = |image: &Tensor| {
            let moments = self.encoder.forward(image)?;
            let mapped = self.quant_conv.forward(&tokens(&moments)?, Then::Nothing)?;
            self::image(&mapped, &moments)
        };
        let moments = self.one_by_one(images, self.config.in_channels, &tiles, encode)?;
        let parts = moments.f_chunk(2, 1)?;
        let [mean, log_variance] = parts.as_slice() else {
            return Err(ModelError::Input("latents of no channel".into()));
        };
        Ok(Posterior {
            mean: mean.shallow_clone(),
            deviation: log_variance
                .f_clamp(-30.0, 20.0)?
                .f_mul_scalar(0.5)?
                .f_exp()?,
        })
    }

    /// Images [N, out_channels, height, width], about -1 to 1, of unscaled `latents`, in f32.
    ///
    /// # Errors
    /// [`ModelError::Input`] for other shapes.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let tiles = Tiles {
            from: self.config.sample_size / self.config.scale(),
            to: self.config.sample_size,
        };
        let decode = |latents: &Tensor| {
            let mapped = self
                .post_quant_conv
                .forward(&tokens(latents)?, Then::Nothing)?;
            self.decoder.forward(&image(&mapped, latents)?)
        };
        self.one_by_one(latents, self.config.latent_channels, &tiles, decode)
    }

    /// Images pass one at a time ("slicing"): at full size a single one keeps every core busy and takes gigabytes.
    fn one_by_one(
        &self,
        images: &Tensor,
        channels: i64,
        tiles: &Tiles,
        through: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (batch, found, height, width) = images.size4()?;
        if found != channels || batch == 0 {
            let shape = images.size();
            return Err(ModelError::Input(format!(
                "shape {shape:?}; the autoencoder takes [N, {channels}, height, width]"
            )));
        }
        let images = channels_last(&images.f_to_kind(self.kind)?)?;
        let one = |index| {
            let image = images.f_narrow(0, index, 1)?;
            let made = match self.tiling && height.max(width) > tiles.from {
                true => tiles.through(&image, &through)?,
                false => through(&image)?,
            };
            Ok(made.f_to_kind(Kind::Float)?)
        };
        let made = (0..batch).map(one).collect::<Result<Vec<Tensor>>>()?;
        Ok(Tensor::f_cat(&made, 0)?)
    }
}

/// Checkpoints of before diffusers 0.17 name the parts of attention otherwise.
fn renamed(tensors: Tensors) -> Tensors {
    const RULES: [(&str, &str); 4] = [
        ("attentions.0.query.", "attentions.0.to_q."),
        ("attentions.0.key.", "attentions.0.to_k."),
        ("attentions.0.value.", "attentions.0.to_v."),
        ("attentions.0.proj_attn.", "attentions.0.to_out.0."),
    ];
    let rename = |name: String| {
        let rule = |name: String, (from, to): (&str, &str)| name.replacen(from, to, 1);
        RULES.into_iter().fold(name, rule)
    };
    let tensors = tensors.into_iter();
    tensors
        .map(|(name, tensor)| (rename(name), tensor))
        .collect()
}
