//! Attention of short sequences in bf16 with AVX-512, by AMX where there is one, from the joint projection of query, key and value.
//!
//! libtorch's flash attention pads 197 tokens to blocks of its own and spends most of the time on their edges. One layer of
//! ViT-B/16 (eight images, 12 heads of 64) on two cores with AMX: 4.0 ms by libtorch, 1.7 ms so; of CLIP B/32 (50 tokens) 0.63 and
//! 0.19 ms. Four rows of softmax at a time took 0.3 ms off; the tiles' products through libtorch's own `brgemm` took 3.6 ms in
//! all, as its last, shorter block configures the tiles anew at each call. Without AMX libtorch leaves the products to a kernel of MKL
//! that knows no vectors of bf16 on AMD: the whole model took 48.8 ms an image, and 39.8 ms with products by AVX-512 here.

use std::ffi::{c_char, c_void};

use tch::{Device, Kind, TchError, Tensor};

use crate::ffi::owned;

/// A head's width is a multiple of this.
const WIDTH: i64 = 32;

unsafe extern "C" {
    fn saga_attention_available() -> i32;
    fn saga_attention_forward(
        qkv: *const c_void,
        heads: i64,
        tiles: bool,
        error: *mut *mut c_char,
    ) -> *mut c_void;
}

/// How the products of [`attention`] are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    /// AVX-512 with bf16.
    Vectors,
    /// AMX with bf16.
    Tiles,
}

/// The processor's best.
fn unit() -> Option<Unit> {
    // SAFETY: takes nothing; asks the processor, and Linux once for its tiles.
    match unsafe { saga_attention_available() } {
        0 => None,
        1 => Some(Unit::Vectors),
        _ => Some(Unit::Tiles),
    }
}

/// Whether [`attention`] takes this: a processor with bf16 in AVX-512, bf16 on the CPU of shape [N, tokens, 3 width] with nothing empty, heads
/// of a multiple of 32 numbers.
#[must_use]
pub fn attends(qkv: &Tensor, heads: i64) -> bool {
    let fits = match qkv.size().as_slice() {
        &[images, tokens, width] => {
            images > 0 && tokens > 0 && width > 0 && heads > 0 && width % (3 * heads * WIDTH) == 0
        }
        _ => false,
    };
    fits && qkv.device() == Device::Cpu
        && matches!(qkv.f_kind(), Ok(Kind::BFloat16))
        && unit().is_some()
}

/// Scaled dot-product attention of every token to all: [N, tokens, 3 width] (queries, keys, values, each [heads, width / heads])
/// to [N, tokens, width]. Scores, sums and mixtures in f32, probabilities rounded to bf16 as libtorch does.
///
/// # Errors
/// What [`attends`] does not take; no memory.
pub fn attention(qkv: &Tensor, heads: i64) -> Result<Tensor, TchError> {
    match unit() {
        Some(unit) if attends(qkv, heads) => by(unit, qkv, heads),
        _ => Err(TchError::Shape(format!(
            "no attention of its own for {:?} with {heads} heads",
            qkv.size()
        ))),
    }
}

/// [`attention`] of what it takes, by a unit that the processor has.
fn by(unit: Unit, qkv: &Tensor, heads: i64) -> Result<Tensor, TchError> {
    let qkv = qkv.f_contiguous()?;
    let mut error = std::ptr::null_mut();
    let tiles = unit == Unit::Tiles;
    // SAFETY: `qkv` outlives the call, which does not keep it; `attends` checked its shape and type, and the unit is there.
    let mixed = unsafe { saga_attention_forward(qkv.as_ptr().cast(), heads, tiles, &mut error) };
    owned(mixed, error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// In f32, operator by operator.
    fn plain(qkv: &Tensor, heads: i64) -> Tensor {
        let (images, tokens, width) = qkv.size3().unwrap();
        let width = width / 3;
        let split = qkv
            .to_kind(Kind::Float)
            .reshape([images, tokens, 3, heads, width / heads])
            .permute([2, 0, 3, 1, 4]);
        let [query, key, value] = [0, 1, 2].map(|part| split.get(part));
        let scores = query.matmul(&key.transpose(-1, -2)) / ((width / heads) as f64).sqrt();
        let mixed = scores.softmax(-1, Kind::Float).matmul(&value);
        mixed.transpose(1, 2).reshape([images, tokens, width])
    }

    fn random(shape: [i64; 3], spread: f64) -> Tensor {
        (Tensor::randn(shape, (Kind::Float, Device::Cpu)) * spread).to_kind(Kind::BFloat16)
    }

    #[test]
    fn every_length_equals_its_operators() {
        if !attends(&random([1, 1, 96], 1.0), 1) {
            eprintln!("skipped: no bf16 in AVX-512 here");
            return;
        }
        tch::manual_seed(1);
        let units = [Unit::Vectors, Unit::Tiles];
        for tokens in (1..=66).chain([197, 257]) {
            for (images, heads, width) in [(1, 1, 32), (3, 2, 64), (2, 3, 96)] {
                // Scores far apart, too: the largest is subtracted first.
                for spread in [1.0, 12.0] {
                    let qkv = random([images, tokens, 3 * heads * width], spread);
                    let plain = plain(&qkv, heads);
                    for unit in units.into_iter().filter(|&this| Some(this) <= unit()) {
                        let found = by(unit, &qkv, heads).unwrap();
                        assert_eq!(
                            (found.kind(), found.size()),
                            (Kind::BFloat16, vec![images, tokens, heads * width])
                        );
                        let difference = (found.to_kind(Kind::Float) - &plain).abs().max();
                        let difference = difference.double_value(&[]) / spread;
                        assert!(
                            difference < 0.02,
                            "{unit:?}, {tokens} tokens, {heads} heads of {width}: {difference}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn nan_stays_in_its_image() {
        let qkv = random([2, 40, 96], 1.0);
        if !attends(&qkv, 1) {
            eprintln!("skipped: no bf16 in AVX-512 here");
            return;
        }
        let _ = qkv.get(0).get(39).fill_(f64::NAN);
        let found = attention(&qkv, 1).unwrap().isnan();
        assert!(bool::try_from(found.get(0).all()).unwrap());
        assert!(!bool::try_from(found.get(1).any()).unwrap());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert!(attention(&random([1, 4, 48], 1.0), 1).is_err());
        assert!(attention(&random([0, 4, 96], 1.0), 1).is_err());
        assert!(attention(&random([1, 4, 96], 1.0), 0).is_err());
        assert!(attention(&random([1, 4, 96], 1.0).to_kind(Kind::Float), 1).is_err());
    }
}
