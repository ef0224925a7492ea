//! Which pixels of a picture a new one is made of, and in which shares: `precompute_coeffs` and `normalize_coeffs_8bpc` of
//! Pillow's Resample.c. The order of operations is theirs, as it decides the last bit.

use std::f64::consts::PI;
use std::ops::Range;

/// Bits of a weight behind the point.
pub const PRECISION: u32 = 22;

/// The interpolation, named as in Pillow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Triangle, support 1.
    Bilinear,
    /// Keys' cubic with a = -0.5, support 2.
    Bicubic,
    /// Windowed sinc with a = 3, support 3.
    Lanczos3,
}

impl Filter {
    /// The distance from which on it is zero.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos3 => 3.0,
        }
    }

    fn at(self, distance: f64) -> f64 {
        let x = distance.abs();
        if x >= self.support() {
            return 0.0;
        }
        match self {
            Self::Bilinear => 1.0 - x,
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            Self::Lanczos3 => sinc(x) * sinc(x / 3.0),
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}

/// What a new pixel is made of: neighbours, the first of them at `start`, with weights that sum to one.
pub struct Stretch {
    pub start: usize,
    /// In units of 2^-[`PRECISION`]. Without signs they sum to less than two.
    pub weights: Vec<i32>,
}

impl Stretch {
    /// Of the new pixel `index` where `side` pixels become `new`.
    fn new(side: u32, new: u32, index: u32, filter: Filter) -> Self {
        let side = f64::from(side);
        let scale = side / f64::from(new);
        let spread = scale.max(1.0);
        let support = filter.support() * spread;
        let center = (f64::from(index) + 0.5) * scale;
        // Truncated after a half is added: rounded, and cut to the picture.
        let start = (center - support + 0.5).clamp(0.0, side) as usize;
        let end = (center + support + 0.5).clamp(0.0, side) as usize;
        let inverse = 1.0 / spread;
        let shares: Vec<f64> = (start..end)
            .map(|pixel| filter.at((pixel as f64 - center + 0.5) * inverse))
            .collect();
        let sum: f64 = shares.iter().sum();
        let fixed = |share: &f64| {
            let share = if sum == 0.0 { *share } else { share / sum };
            let scaled = share * f64::from(1 << PRECISION);
            (scaled + 0.5f64.copysign(share)) as i32
        };
        Self {
            start,
            weights: shares.iter().map(fixed).collect(),
        }
    }

    fn end(&self) -> usize {
        self.start + self.weights.len()
    }
}

/// The new pixels `wanted`, across or down, where `side` pixels become `new`.
pub fn stretches(side: u32, new: u32, wanted: Range<u32>, filter: Filter) -> Vec<Stretch> {
    let stretch = |index| Stretch::new(side, new, index, filter);
    wanted.map(stretch).collect()
}

/// All that they have between them.
pub fn used(stretches: &[Stretch]) -> Range<usize> {
    let start = stretches.iter().map(|stretch| stretch.start).min();
    let end = stretches.iter().map(Stretch::end).max();
    start.unwrap_or(0)..end.unwrap_or(0)
}
