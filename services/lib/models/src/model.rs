//! What every model shares: made new to train, loaded to train further, or loaded to serve, where a canary batch proves
//! that a faster precision agrees with f32.

use crate::checkpoint::{Architecture, Checkpoint};
use crate::error::{ModelError, Result};
use crate::fused::Sealing;
use crate::int8;
use crate::runtime::{Precision, Runtime};
use crate::weights::Weights;
use saga_kernels::Ranges;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Images at a time that sealed models are prepared for, and that services give them on a CPU; others are served too.
pub(crate) const SEALED_FOR: i64 = 16;

/// What every model holds beside its layers.
pub struct Base<Config> {
    pub config: Config,
    pub weights: Weights,
    /// Of the arithmetic; f32 where bf16 was tried and drifted.
    pub precision: Precision,
}

/// A model that a Hugging Face directory holds.
pub trait Model: Sized {
    /// Its config.json.
    type Config;

    /// Tensors whose names start with this stay f32 whatever the precision.
    const KEPT_F32: &'static str;
    /// Largest drift from f32 that the canary batch may show.
    const MAX_DRIFT: f64;
    /// What drifts, for messages.
    const OUTPUT: &'static str;

    /// Registers every tensor of the configuration with the weights.
    fn build(base: Base<Self::Config>) -> Result<Self>;

    /// This model's configuration, where a checkpoint is of this model.
    fn config_of(architecture: &Architecture) -> Option<Self::Config>;

    fn base(&self) -> &Base<Self::Config>;

    fn base_mut(&mut self) -> &mut Base<Self::Config>;

    /// Prepares for serving: the weights do not change any more, and may leave the store.
    fn seal(&mut self, sealing: &mut Sealing) -> Result<()>;

    /// What the linear maps observed since they were sealed for it, in the order of sealing.
    fn take_seen(&self) -> Vec<Ranges>;

    /// Channels and side of the images it takes.
    fn image_shape(&self) -> (i64, i64);

    /// The output on pixel values that shows drift: f32 on the CPU or the model's device.
    fn canary_output(&self, pixel_values: &Tensor) -> Result<Tensor>;

    /// How far `output` is from `reference`, both from [`Self::canary_output`].
    fn drift(reference: &Tensor, output: &Tensor) -> Result<f64>;

    fn config(&self) -> &Self::Config {
        &self.base().config
    }

    fn weights(&self) -> &Weights {
        &self.base().weights
    }

    /// The precision in use, which may be f32 where bf16 was tried and drifted.
    fn precision(&self) -> Precision {
        self.base().precision
    }

    /// A model to train, its weights drawn from `seed`. Masters stay f32 whatever the precision.
    fn new(config: Self::Config, runtime: Runtime, seed: u64) -> Result<Self> {
        Self::build(Base {
            config,
            weights: Weights::random(runtime.device, seed),
            precision: runtime.precision,
        })
    }

    /// A model to train further, from a model directory.
    ///
    /// # Errors
    /// As [`Checkpoint::read`] and [`Weights::fill`]; [`ModelError::Config`] where the directory holds another kind of model.
    fn load_to_train(dir: &Path, runtime: Runtime) -> Result<Self> {
        filled(&Checkpoint::read(dir)?, runtime)
    }

    /// A model to serve, from a model directory: gradients off, weights converted once.
    ///
    /// # Errors
    /// As [`Self::from_checkpoint`] and [`Checkpoint::read`].
    fn load(dir: &Path, runtime: Runtime) -> Result<Self> {
        Self::from_checkpoint(Checkpoint::read(dir)?, runtime)
    }

    /// A model to serve, as [`Self::load`].
    ///
    /// # Errors
    /// As [`Weights::fill`]; [`ModelError::Config`] where the checkpoint is of another kind of model;
    /// [`ModelError::Golden`] where the answers are not those that were recorded with it;
    /// [`ModelError::Precision`] where bf16 was asked for and drifts from f32, or 8-bit integers and nobody showed that they agree.
    fn from_checkpoint(checkpoint: Checkpoint, runtime: Runtime) -> Result<Self> {
        let in_f32 = Runtime {
            precision: Precision::F32,
            ..runtime
        };
        let mut reference: Self = frozen(&checkpoint, in_f32)?;
        let serves_f32 = runtime.precision == Precision::F32;
        // Sealing costs time and memory: a mere reference does without.
        if serves_f32 {
            reference.seal(&mut Sealing::Float)?;
        }
        if let Some(golden) = &checkpoint.golden {
            golden.check(&reference)?;
        }
        if serves_f32 {
            return Ok(reference);
        }
        if runtime.precision == Precision::Int8 {
            return int8::load(reference, checkpoint.int8.as_ref(), runtime);
        }
        let mut fast: Self = frozen(&checkpoint, runtime)?;
        fast.seal(&mut Sealing::Float)?;
        let drift = drift(&reference, &fast)?;
        // NaN counts as drift.
        if drift <= Self::MAX_DRIFT {
            tracing::debug!(drift, "{} agrees with f32", runtime.precision);
            return Ok(fast);
        }
        if !runtime.may_fall_back {
            let why = format!(
                "{} drift {drift:.4} from f32, over {}; use f32",
                Self::OUTPUT,
                Self::MAX_DRIFT
            );
            return Err(ModelError::Precision {
                precision: runtime.precision.to_string(),
                why,
            });
        }
        tracing::warn!(
            drift,
            "{} drifts from f32; serving in f32",
            runtime.precision
        );
        reference.seal(&mut Sealing::Float)?;
        Ok(reference)
    }
}

/// A model whose weights do not change any more, converted to what is computed in.
pub(crate) fn frozen<M: Model>(checkpoint: &Checkpoint, runtime: Runtime) -> Result<M> {
    let mut model: M = filled(checkpoint, runtime)?;
    let weights = &mut model.base_mut().weights;
    weights.freeze();
    weights.cast(runtime.precision.kind(), M::KEPT_F32)?;
    Ok(model)
}

fn filled<M: Model>(checkpoint: &Checkpoint, runtime: Runtime) -> Result<M> {
    let config = M::config_of(&checkpoint.architecture).ok_or_else(|| ModelError::Config {
        key: "model_type",
        why: "is of another kind of model than this one".into(),
    })?;
    let mut model = M::build(Base {
        config,
        weights: Weights::blank(runtime.device, &checkpoint.tensors),
        precision: runtime.precision,
    })?;
    model.base_mut().weights.fill(&checkpoint.tensors)?;
    Ok(model)
}

/// How far a model is from its reference on the canary batch.
fn drift<M: Model>(reference: &M, model: &M) -> Result<f64> {
    let (channels, side) = reference.image_shape();
    let pixels = canary(channels, side)?;
    M::drift(
        &reference.canary_output(&pixels)?,
        &model.canary_output(&pixels)?,
    )
}

/// Two fixed images of smooth noise, the same on every machine.
pub(crate) fn canary(channels: i64, side: i64) -> Result<Tensor> {
    let ramp = Tensor::f_arange(2 * channels * side * side, (Kind::Float, Device::Cpu))?;
    Ok(ramp
        .f_mul_scalar(0.37)?
        .f_sin()?
        .f_reshape([2, channels, side, side])?)
}

pub(crate) fn max_difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(a.f_sub(b)?.f_abs()?.f_max()?.f_double_value(&[])?)
}
