//! What a model must be able to do to be trained.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use saga_models::{ModelError, weights::Weights};
use tch::Tensor;

use crate::{epoch::Judged, error::TrainError, loader::Batch, stages::Stage};

/// A model that can be trained.
pub trait Learner {
    /// Parameters and buffers.
    fn weights(&self) -> &Weights;
    /// Writes the files of a directory that the model's service loads.
    fn write(&self, directory: &Path) -> Result<(), ModelError>;
    /// Tells before each step how much of the training is done, 0 to 1, and what trains.
    fn begin_step(&mut self, _progress: f64, _stage: Stage) {}
    /// Differentiable scalar loss of a batch.
    fn loss(&mut self, batch: &Batch, random: &mut ChaCha8Rng) -> Result<Tensor, TrainError>;
    /// Without dropout, how a batch of val images is done, the first of which is number `first` of the split.
    fn validate(
        &self,
        images: &Tensor,
        labels: &Tensor,
        first: usize,
    ) -> Result<Judged, TrainError>;
}
