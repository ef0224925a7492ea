//! The studio's source of randomness: SplitMix64, written out so that a scene recorded in a JPEG years ago still
//! renders to the same picture whatever version of a random-number crate is in use, and so that grain can be
//! addressed by pixel instead of drawn in order.

/// Scrambles 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The seed of a named sub-stream, so that adding a draw to one stream never shifts another.
pub(crate) fn derive(seed: u64, stream: &str) -> u64 {
    stream
        .bytes()
        .fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)))
}

/// A sample of mean 0 and variance 1 from one 64-bit hash: the sum of its four 16-bit words (Irwin-Hall), which is
/// close to normal, bounded, and the same on every platform.
pub(crate) fn standard(hash: u64) -> f32 {
    let sum = (0..4)
        .map(|word| ((hash >> (16 * word)) & 0xFFFF) as f32)
        .sum::<f32>();
    (sum / 65_536.0 - 2.0) * 3.0_f32.sqrt()
}

/// A stream of random numbers.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64, stream: &str) -> Self {
        Self(derive(seed, stream))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    pub(crate) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub(crate) fn normal(&mut self, mean: f32, deviation: f32) -> f32 {
        mean + deviation * standard(self.next())
    }

    pub(crate) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            0
        } else {
            (self.next() % bound as u64) as usize
        }
    }

    /// One of the values, each with the weight beside it.
    pub(crate) fn weighted<T: Copy, const N: usize>(&mut self, choices: [(T, f32); N]) -> T {
        let total: f32 = choices.iter().map(|choice| choice.1).sum();
        let mut left = self.unit() * total;
        let mut chosen = choices[0].0;
        for (value, weight) in choices {
            chosen = value;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_distinct() {
        let draw = |seed, stream| {
            (0..4)
                .map(|_| 0)
                .scan(Rng::new(seed, stream), |rng, _| Some(rng.next()))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "face"), draw(1, "face"));
        assert_ne!(draw(1, "face"), draw(1, "hair"));
        assert_ne!(draw(1, "face"), draw(2, "face"));
    }

    #[test]
    fn standard_has_zero_mean_and_unit_variance() {
        let samples: Vec<f32> = (0..20_000).map(|index| standard(mix(index))).collect();
        let mean = samples.iter().sum::<f32>() / 20_000.0;
        let variance = samples.iter().map(|sample| sample * sample).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03, "{mean}");
        assert!((variance - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn weights_are_respected() {
        let mut rng = Rng::new(3, "weights");
        let heads = (0..4000)
            .filter(|_| rng.weighted([(true, 3.0), (false, 1.0)]))
            .count();
        assert!((2850..3150).contains(&heads), "{heads}");
    }
}
