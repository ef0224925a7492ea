//! Answers recorded with a model: `golden.safetensors` holds `pixel_values` [N, 3, H, W] and `output` [N, K], which are what the
//! model gave for them in f32 where it was made: probabilities of a classifier, unit vectors of a CLIP. A service that loads
//! the model asks it again before it is ready, so that weights, code or libraries that changed are noticed then.

use crate::checkpoint::{Architecture, Checkpoint, Tensors};
use crate::clip::Clip;
use crate::directory;
use crate::error::{ModelError, Result};
use crate::model::{Model, canary};
use crate::resnet::ResNetClassifier;
use crate::runtime::Runtime;
use crate::vit::VitClassifier;
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
             compare with the original, and import or train it again",
            M::OUTPUT,
            M::MAX_DRIFT
        )))
    }
}

/// Loads a model directory as a service does, and records beside it what it answers.
///
/// # Errors
/// As [`Model::load`], and where the file cannot be written.
pub fn record(dir: &Path) -> Result<()> {
    let checkpoint = Checkpoint::read(dir)?;
    checkpoint.preprocessor()?;
    match checkpoint.architecture() {
        Architecture::Vit(_) => record_of::<VitClassifier>(checkpoint, dir),
        Architecture::ResNet(_) => record_of::<ResNetClassifier>(checkpoint, dir),
        Architecture::Clip(_) => record_of::<Clip>(checkpoint, dir),
    }
}

/// Writes what the model answers to the canary batch.
fn record_of<M: Model>(checkpoint: Checkpoint, dir: &Path) -> Result<()> {
    let model = M::from_checkpoint(checkpoint, Runtime::REFERENCE)?;
    let (channels, side) = model.image_shape();
    let pixel_values = canary(channels, side)?;
    let output = model.canary_output(&pixel_values)?;
    let tensors = [
        ("pixel_values".to_owned(), pixel_values),
        ("output".to_owned(), output),
    ];
    save(&tensors.into(), &dir.join(directory::GOLDEN))
}
