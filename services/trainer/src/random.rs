//! Random numbers that depend on the seed and the batch alone: a training that is resumed at any step goes on as if it had
//! never stopped, and batches come out alike on however many threads they are made.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What numbers are for; numbers of different purposes have nothing in common.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// How images are changed before the model sees them.
    Augmentation,
    /// What the loss draws: partners of MixUp, texts of a class.
    Loss,
    /// libtorch's own generator: dropout and drop-path.
    Dropout,
}

/// Streams of one batch.
const PURPOSES: u64 = 3;

/// The numbers of a batch, counted from 0 over the whole training.
pub fn of_batch(seed: u64, batch: u64, purpose: Purpose) -> ChaCha8Rng {
    // Beside the sampler, which the seed itself starts.
    let mut random = ChaCha8Rng::seed_from_u64(seed.wrapping_add(1));
    random.set_stream(batch.wrapping_mul(PURPOSES).wrapping_add(purpose as u64));
    random
}

/// Starts libtorch's generator for a batch.
pub fn seed_dropout(seed: u64, batch: u64) {
    tch::manual_seed(of_batch(seed, batch, Purpose::Dropout).next_u64() as i64);
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn batches_and_purposes_differ_and_seeds_decide() {
        let first = |seed, batch, purpose| of_batch(seed, batch, purpose).next_u64();
        assert_eq!(first(1, 5, Purpose::Loss), first(1, 5, Purpose::Loss));
        assert_ne!(first(1, 5, Purpose::Loss), first(2, 5, Purpose::Loss));
        assert_ne!(first(1, 5, Purpose::Loss), first(1, 6, Purpose::Loss));
        assert_ne!(
            first(1, 5, Purpose::Loss),
            first(1, 5, Purpose::Augmentation)
        );
    }

    #[test]
    fn dropout_is_the_batch_s_own() {
        let drawn = |batch| {
            seed_dropout(3, batch);
            Tensor::rand([4], (Kind::Float, Device::Cpu))
        };
        let (fourth, fifth) = (drawn(4), drawn(5));
        assert_ne!(fourth, fifth);
        assert_eq!(drawn(4), fourth);
    }
}
