//! Answers recorded with a model: `golden.safetensors` holds `pixel_values` [N, 3, H, W] and `output` [N, K], which are what the
//! model gave for them in f32 where it was made: probabilities of a classifier, unit vectors of a CLIP. A service that loads
//! the model asks it again before it is ready, so that weights, code or libraries that changed are noticed then.

use crate::checkpoint::Tensors;
use crate::directory;
use crate::error::{ModelError, Result};
use crate::model::{Model, canary};
use crate::weights::save;
use std::path::Path;
use tch::Tensor;

/// Recorded answers.
pub(crate) struct Golden {
    pixel_values: Tensor,
    output: Tensor,
}

impl Golden {
    /// The file's two tensors.
    ///
    /// # Errors
    /// [`ModelError::Golden`] where one is missing.
    pub(crate) fn new(mut tensors: Tensors) -> Result<Self> {
        let mut take = |name: &str| {
            let absent = || ModelError::Golden(format!("lacks the tensor {name}"));
            tensors.remove(name).ok_or_else(absent)
        };
        Ok(Self {
            pixel_values: take("pixel_values")?,
            output: take("output")?,
        })
    }

    /// Asks the model again.
    ///
    /// # Errors
    /// [`ModelError::Golden`] where it drifts further than a precision may.
    pub(crate) fn check<M: Model>(&self, model: &M) -> Result<()> {
        let output = model.canary_output(&self.pixel_values)?;
        if output.size() != self.output.size() {
            let (found, recorded) = (output.size(), self.output.size());
            let why = format!("holds outputs of shape {recorded:?}; the model gives {found:?}");
            return Err(ModelError::Golden(why));
        }
        let drift = M::drift(&self.output, &output)?;
        // NaN counts as drift.
        if drift <= M::MAX_DRIFT {
            return Ok(());
        }
        Err(ModelError::Golden(format!(
            "records other {} than the model gives now: drift {drift:.4}, over {}; the weights or a library changed, so \
             compare with the original and import it again",
            M::OUTPUT,
            M::MAX_DRIFT
        )))
    }
}

/// Writes what `model` answers to the canary batch.
pub(crate) fn record<M: Model>(model: &M, dir: &Path) -> Result<()> {
    let (channels, side) = model.image_shape();
    let pixel_values = canary(channels, side)?;
    let output = model.canary_output(&pixel_values)?;
    let tensors = [
        ("pixel_values".to_owned(), pixel_values),
        ("output".to_owned(), output),
    ];
    save(&tensors.into(), &dir.join(directory::GOLDEN))
}
