//! Where an image's noise comes from: a source of its own for each, so that it does not depend on its batch.

use crate::error::Result;
use crate::weights::normal;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor};

/// Normal numbers for one image, drawn in the order in which it needs them.
pub trait Noise {
    /// Independent normal numbers in f32 on the CPU.
    ///
    /// # Errors
    /// What libtorch says.
    fn draw(&mut self, shape: &[i64]) -> Result<Tensor>;
}

/// The noise of a seed: the same on every machine, device and precision.
pub struct Seeded(ChaCha8Rng);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
}

impl Noise for Seeded {
    fn draw(&mut self, shape: &[i64]) -> Result<Tensor> {
        normal(shape, 1.0, &mut self.0, Device::Cpu)
    }
}
