//! What every model shares: made new to train, loaded to train further, or loaded to serve, where a canary batch proves
//! that a faster precision agrees with f32.

use crate::directory;
use crate::error::{ModelError, Result};
use crate::runtime::{Precision, Runtime};
use crate::weights::Weights;
use serde::de::DeserializeOwned;
use std::path::Path;
use tch::{Device, Kind, Tensor};

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
    type Config: DeserializeOwned;

    /// Tensors whose names start with this stay f32 whatever the precision.
    const KEPT_F32: &'static str;
    /// Largest drift from f32 that the canary batch may show.
    const MAX_DRIFT: f64;
    /// What drifts, for messages.
    const OUTPUT: &'static str;

    /// Registers every tensor of the configuration with the weights.
    fn build(base: Base<Self::Config>) -> Result<Self>;

    fn base(&self) -> &Base<Self::Config>;

    fn base_mut(&mut self) -> &mut Base<Self::Config>;

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

    /// A model to train further, from a Hugging Face model directory.
    fn load_to_train(dir: &Path, runtime: Runtime) -> Result<Self> {
        let mut model = Self::build(Base {
            config: directory::read_config(dir)?,
            weights: Weights::blank(runtime.device),
            precision: runtime.precision,
        })?;
        model
            .base_mut()
            .weights
            .load(&dir.join(directory::WEIGHTS))?;
        Ok(model)
    }

    /// A model to serve, from a Hugging Face model directory: gradients off, weights converted once.
    ///
    /// # Errors
    /// As [`Weights::load`]; [`ModelError::Precision`] where bf16 was asked for and drifts from f32.
    fn load(dir: &Path, runtime: Runtime) -> Result<Self> {
        let reference = Runtime {
            precision: Precision::F32,
            ..runtime
        };
        let mut model = Self::load_to_train(dir, reference)?;
        model.base_mut().weights.freeze();
        if runtime.precision == Precision::Bf16 {
            enter_bf16(&mut model, runtime, dir)?;
        }
        Ok(model)
    }
}

/// Converts to bf16 unless the canary batch shows drift.
fn enter_bf16<M: Model>(model: &mut M, runtime: Runtime, dir: &Path) -> Result<()> {
    let (channels, side) = model.image_shape();
    let pixels = canary(channels, side)?;
    let reference = model.canary_output(&pixels)?;
    model.base_mut().precision = Precision::Bf16;
    model.base_mut().weights.cast(Kind::BFloat16, M::KEPT_F32)?;
    let drift = M::drift(&reference, &model.canary_output(&pixels)?)?;
    // NaN counts as drift.
    if drift <= M::MAX_DRIFT {
        tracing::debug!(drift, "bf16 agrees with f32");
        return Ok(());
    }
    if !runtime.may_fall_back {
        let why = format!(
            "{} drift {drift:.4} from f32, over {}; use f32",
            M::OUTPUT,
            M::MAX_DRIFT
        );
        return Err(ModelError::Precision {
            precision: "bf16".into(),
            why,
        });
    }
    tracing::warn!(drift, "bf16 drifts from f32; serving in f32");
    model.base_mut().precision = Precision::F32;
    model.base_mut().weights.cast(Kind::Float, M::KEPT_F32)?;
    model.base_mut().weights.load(&dir.join(directory::WEIGHTS))
}

/// Two fixed images of smooth noise, the same on every machine.
fn canary(channels: i64, side: i64) -> Result<Tensor> {
    let ramp = Tensor::f_arange(2 * channels * side * side, (Kind::Float, Device::Cpu))?;
    Ok(ramp
        .f_mul_scalar(0.37)?
        .f_sin()?
        .f_reshape([2, channels, side, side])?)
}

pub(crate) fn max_difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(a.f_sub(b)?.f_abs()?.f_max()?.f_double_value(&[])?)
}
