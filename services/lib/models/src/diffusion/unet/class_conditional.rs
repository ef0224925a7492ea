//! A UNet that is told a class beside the time, as diffusers' `UNet2DModel` with `num_class_embeds`: small enough to be trained on
//! one data set. The last of its classes is none of the data set's and stands for all of them, which guidance needs (Ho and
//! Salimans 2022).

mod config;

pub use config::Config;

use super::blocks::Given;
use super::trunk::Trunk;
use crate::checkpoint;
use crate::diffusion::embeddings::sinusoids;
use crate::diffusion::part;
use crate::directory;
use crate::error::{ModelError, Result};
use crate::runtime::Runtime;
use crate::weights::{Init, Weights};
use std::path::Path;
use tch::{Kind, Tensor};

/// Name of the file of weights, as diffusers writes it.
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A UNet with its weights, for serving or for training.
pub struct UNet2DModel {
    config: Config,
    kind: Kind,
    trunk: Trunk,
    class_embedding: Tensor,
}

impl UNet2DModel {
    fn new(config: Config, weights: &Weights, kind: Kind) -> Result<Self> {
        let (root, sizes) = (weights.root(), config.sizes());
        let shape = [config.num_class_embeds, sizes.time_width()];
        let class_embedding = root.at("class_embedding");
        Ok(Self {
            trunk: Trunk::new(&root, &sizes)?,
            class_embedding: class_embedding.parameter("weight", &shape, Init::Normal(1.0))?,
            config,
            kind,
        })
    }

    /// With random weights, for training: those are f32 and the model follows them, whatever the precision.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming the key that makes no sense.
    pub fn random(config: Config, runtime: Runtime, seed: u64) -> Result<(Self, Weights)> {
        config.check()?;
        let weights = Weights::random(runtime.device, seed);
        let model = Self::new(config, &weights, runtime.precision.kind())?;
        Ok((model, weights))
    }

    /// Loads the folder `dir` of a diffusers directory, for training.
    ///
    /// # Errors
    /// [`ModelError::Component`] naming the folder and the file, configuration key or tensor.
    pub fn load_to_train(dir: &Path, runtime: Runtime) -> Result<(Self, Weights)> {
        let read = || {
            let config = Config::read(&dir.join(directory::CONFIG))?;
            let found = checkpoint::of_directory(dir)?;
            let mut weights = Weights::blank(runtime.device, &found);
            let model = Self::new(config, &weights, runtime.precision.kind())?;
            weights.fill(&found)?;
            Ok((model, weights))
        };
        read().map_err(ModelError::component(dir))
    }

    /// Loads the folder `dir` of a diffusers directory, for serving.
    ///
    /// # Errors
    /// As [`Self::load_to_train`].
    pub fn load(dir: &Path, runtime: Runtime) -> Result<Self> {
        let kind = runtime.precision.kind();
        let build = |config, weights: &Weights| Self::new(config, weights, kind);
        part::load(dir, runtime, Config::read, Ok, build)
    }

    /// Writes the folder `dir` of a diffusers directory.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn write(&self, dir: &Path, weights: &Weights) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(ModelError::io(dir))?;
        directory::write_json(&dir.join(directory::CONFIG), &self.config.named())?;
        weights.save(&dir.join(WEIGHTS))
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it predicts for samples [N, in_channels, height, width] at `times` [N] in f32 of `classes` [N] in int64:
    /// [N, out_channels, height, width] in f32.
    ///
    /// # Errors
    /// [`ModelError::Input`] for other shapes; libtorch's for a class that it has not.
    pub fn forward(&self, samples: &Tensor, times: &Tensor, classes: &Tensor) -> Result<Tensor> {
        let (batch, channels, _, _) = samples.size4()?;
        if channels != self.config.in_channels || [times, classes].map(Tensor::size) != [[batch]; 2]
        {
            return Err(ModelError::Input(format!(
                "samples {:?} with times {:?} and classes {:?}; the UNet takes {} channels, and a time and a class for each",
                samples.size(),
                times.size(),
                classes.size(),
                self.config.in_channels
            )));
        }
        let told = self.told(times, classes)?;
        let given = Given {
            time: &told,
            context: None,
        };
        self.trunk.forward(samples, &given, self.kind)
    }

    /// Embeddings of times and classes [N, width] after the activation with which every block begins.
    fn told(&self, times: &Tensor, classes: &Tensor) -> Result<Tensor> {
        let width = self.config.block_out_channels.first().copied();
        let (flip, shift) = (self.config.flip_sin_to_cos, self.config.freq_shift);
        let sinusoids = sinusoids(times, width.unwrap_or(0), flip, shift)?;
        let time = &self.trunk.time_embedding;
        let time = time.forward(&sinusoids.f_to_kind(self.kind)?)?;
        let class = self.class_embedding.f_index_select(0, classes)?;
        Ok(time.f_add(&class.f_to_kind(self.kind)?)?.f_silu()?)
    }
}
