//! A model directory as exports start from: its tensors under Hugging Face's names, checked against its configuration.

use crate::error::Result;
use saga_models::checkpoint::{Architecture, Checkpoint, Tensors};
use saga_models::clip::Clip;
use saga_models::preprocess::Preprocessor;
use saga_models::resnet::ResNetClassifier;
use saga_models::vit::VitClassifier;
use saga_models::{Model, ModelError, Runtime};
use std::path::Path;

/// A model that fits its configuration.
pub(crate) struct Source {
    pub(crate) architecture: Architecture,
    pub(crate) preprocessor: Preprocessor,
    /// In f32, on the CPU.
    pub(crate) tensors: Tensors,
}

impl Source {
    /// # Errors
    /// As [`Model::load_to_train`]: whatever does not fit exactly is refused.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::read(dir)?;
        let architecture = checkpoint.architecture().clone();
        let tensors = match &architecture {
            Architecture::Vit(_) => tensors::<VitClassifier>(dir),
            Architecture::ResNet(_) => tensors::<ResNetClassifier>(dir),
            Architecture::Clip(_) => tensors::<Clip>(dir),
        };
        Ok(Self {
            preprocessor: checkpoint.preprocessor()?,
            tensors: tensors?,
            architecture,
        })
    }
}

fn tensors<M: Model>(dir: &Path) -> std::result::Result<Tensors, ModelError> {
    Ok(M::load_to_train(dir, Runtime::REFERENCE)?
        .weights()
        .tensors())
}
