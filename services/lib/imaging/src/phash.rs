//! The perceptual hash of imagehash's `phash`: near-duplicates differ in few bits.

use std::f64::consts::PI;

use image::GrayImage;

use crate::resize::{Filter, resize_grey};

/// Side of the picture that is transformed, and of the square of low frequencies that is kept.
const SIDE: usize = 32;
const KEPT: usize = 8;

/// 64-bit DCT hash: 32x32 Lanczos, DCT-II along both axes, the 8x8 lowest frequencies with DC, one bit each for
/// "above the median", row by row, most significant bit first.
#[must_use]
pub fn phash(picture: &GrayImage) -> u64 {
    let small = resize_grey(picture, SIDE as u32, SIDE as u32, Filter::Lanczos3);
    let low = low_frequencies(&small);
    let mut sorted = low;
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[sorted.len() / 2 - 1] + sorted[sorted.len() / 2]) / 2.0;
    low.iter()
        .fold(0, |hash, &value| (hash << 1) | u64::from(value > median))
}

/// Bits in which two hashes differ: 0 to 64.
#[must_use]
pub fn hamming(a: u64, b: u64) -> u32 {
    (a ^ b).count_ones()
}

/// The 8x8 lowest DCT-II coefficients, vertical frequency first. Only they are computed; a common factor is left out,
/// since the median removes it.
fn low_frequencies(small: &GrayImage) -> [f64; KEPT * KEPT] {
    let basis = |frequency: usize, at: usize| {
        (PI * frequency as f64 * (2 * at + 1) as f64 / (2 * SIDE) as f64).cos()
    };
    let mut vertical = [[0.0; SIDE]; KEPT];
    for (x, y, pixel) in small.enumerate_pixels() {
        for (frequency, row) in vertical.iter_mut().enumerate() {
            row[x as usize] += f64::from(pixel.0[0]) * basis(frequency, y as usize);
        }
    }
    let mut low = [0.0; KEPT * KEPT];
    for (index, value) in low.iter_mut().enumerate() {
        let (v, u) = (index / KEPT, index % KEPT);
        *value = (0..SIDE).map(|x| vertical[v][x] * basis(u, x)).sum();
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hamming_counts_differing_bits() {
        assert_eq!(hamming(0b1011, 0b0010), 2);
        assert_eq!(hamming(0, u64::MAX), 64);
    }
}
