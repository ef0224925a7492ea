//! RandAugment (Cubuk et al. 2020, <https://arxiv.org/abs/1909.13719>): some operations drawn from a list, all of one magnitude.
//! List, magnitudes (0 to 30) and arithmetic are those of torchvision's `transforms.RandAugment` on 8-bit tensors: the nearest
//! pixel where an image is moved, and black outside.

use std::borrow::Cow;

use rand::{RngExt as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::colour;

/// The largest magnitude: torchvision's 31 bins.
pub const MOST: u32 = 30;

/// How many operations, and how strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RandAugment {
    pub operations: u32,
    /// 0 to [`MOST`].
    pub magnitude: u32,
}

/// One of torchvision's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Colour,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

use Operation::*;

const OPERATIONS: [Operation; 14] = [
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Colour,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
];

impl RandAugment {
    /// No operation.
    pub const NONE: Self = Self {
        operations: 0,
        magnitude: 0,
    };

    /// The changed image, `[3, side, side]` bytes.
    pub fn apply<'a>(
        &self,
        bytes: &'a [u8],
        side: usize,
        random: &mut ChaCha8Rng,
    ) -> Cow<'a, [u8]> {
        let mut image = Cow::Borrowed(bytes);
        for _ in 0..self.operations {
            let operation = OPERATIONS.choose(random).copied().unwrap_or(Identity);
            let strength = operation.strength(self.magnitude, side);
            let turned = operation.has_sign() && random.random_bool(0.5);
            let strength = if turned { -strength } else { strength };
            image = Cow::Owned(operation.apply(&image, side, strength));
        }
        image
    }
}

impl Operation {
    /// Whether it goes either way with equal probability.
    fn has_sign(self) -> bool {
        !matches!(
            self,
            Identity | Posterize | Solarize | AutoContrast | Equalize
        )
    }

    /// In the operation's own unit: slope, pixels, degrees, change of a factor, bits kept, threshold.
    fn strength(self, magnitude: u32, side: usize) -> f32 {
        let up_to = |most: f32| linspace(most, magnitude);
        match self {
            ShearX | ShearY => up_to(0.3),
            TranslateX | TranslateY => up_to(150.0 / 331.0 * side as f32),
            Rotate => up_to(30.0),
            Brightness | Colour | Contrast | Sharpness => up_to(0.9),
            Posterize => 8.0 - up_to(4.0).round_ties_even(),
            Solarize => 255.0 - up_to(255.0),
            Identity | AutoContrast | Equalize => 0.0,
        }
    }

    fn apply(self, bytes: &[u8], side: usize, strength: f32) -> Vec<u8> {
        let middle = (side as f32 - 1.0) / 2.0;
        match self {
            Identity => bytes.to_vec(),
            ShearX => moved(bytes, side, |x, y| (x + strength * (y + 0.5), y)),
            ShearY => moved(bytes, side, |x, y| (x, y + strength * (x + 0.5))),
            TranslateX => moved(bytes, side, |x, y| (x - strength.trunc(), y)),
            TranslateY => moved(bytes, side, |x, y| (x, y - strength.trunc())),
            Rotate => {
                let (sin, cos) = strength.to_radians().sin_cos();
                moved(bytes, side, |x, y| {
                    let (x, y) = (x - middle, y - middle);
                    (cos * x - sin * y + middle, sin * x + cos * y + middle)
                })
            }
            Brightness => colour::brightness(bytes, 1.0 + f64::from(strength)),
            Colour => colour::saturation(bytes, 1.0 + f64::from(strength)),
            Contrast => colour::contrast(bytes, 1.0 + f64::from(strength)),
            Sharpness => colour::sharpness(bytes, side, 1.0 + f64::from(strength)),
            Posterize => colour::posterize(bytes, strength as u32),
            Solarize => colour::solarize(bytes, strength),
            AutoContrast => colour::auto_contrast(bytes),
            Equalize => colour::equalize(bytes),
        }
    }
}

/// A magnitude's share of `most`, rounded as `torch.linspace` does: values are cut to whole numbers after it.
fn linspace(most: f32, magnitude: u32) -> f32 {
    let step = most / MOST as f32;
    if 2 * magnitude < MOST {
        step * magnitude as f32
    } else {
        most - step * (MOST - magnitude) as f32
    }
}

/// Each pixel from the place that `from` names for it, rounded; black where that is outside.
fn moved(bytes: &[u8], side: usize, from: impl Fn(f32, f32) -> (f32, f32)) -> Vec<u8> {
    let plane = side * side;
    let mut image = vec![0; bytes.len()];
    for place in 0..plane {
        let (x, y) = from((place % side) as f32, (place / side) as f32);
        let (x, y) = (x.round_ties_even(), y.round_ties_even());
        let inside = |at: f32| at >= 0.0 && at < side as f32;
        if inside(x) && inside(y) {
            let source = y as usize * side + x as usize;
            for (new, old) in image.chunks_exact_mut(plane).zip(bytes.chunks_exact(plane)) {
                new[place] = old[source];
            }
        }
    }
    image
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use tch::Tensor;

    use super::*;

    const SIDE: usize = 24;

    /// `tests/fixtures/randaugment.safetensors`, made by `randaugment.py` beside it.
    #[test]
    fn every_operation_is_torchvision_s() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/randaugment.safetensors"
        );
        let tensors: std::collections::HashMap<String, Tensor> = Tensor::read_safetensors(file)
            .unwrap()
            .into_iter()
            .collect();
        let bytes = |name: &str| Vec::<u8>::try_from(tensors[name].view([-1])).unwrap();
        let image = bytes("image");
        let mut compared = 0;
        for (index, operation) in OPERATIONS.into_iter().enumerate() {
            for magnitude in [0, 9, 19, 30] {
                for sign in [1.0, -1.0]
                    .into_iter()
                    .take(1 + usize::from(operation.has_sign()))
                {
                    let expected = bytes(&format!("{index}.{magnitude}.{sign}"));
                    let strength = sign * operation.strength(magnitude, SIDE);
                    let ours = operation.apply(&image, SIDE, strength);
                    let differences = ours.iter().zip(&expected);
                    let differences = differences.map(|(ours, theirs)| ours.abs_diff(*theirs));
                    let differing = differences.clone().filter(|&difference| difference > 0);
                    // Where a place lies between two pixels, or a value is whole before it is cut, the last bit decides.
                    let moves = (1..=5).contains(&index);
                    let largest = if moves { u8::MAX } else { 1 };
                    assert!(
                        differing.count() <= image.len() / 200
                            && differences.max().is_none_or(|most| most <= largest),
                        "{operation:?} {magnitude} {sign}"
                    );
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 4 * (9 * 2 + 5));
    }

    #[test]
    fn no_operation_copies_nothing() {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let bytes = [1; 12];
        assert!(matches!(
            RandAugment::NONE.apply(&bytes, 2, &mut random),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn strong_operations_change_images() {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let bytes: Vec<u8> = (0..3 * SIDE * SIDE)
            .map(|index| (index % 251) as u8)
            .collect();
        let strong = RandAugment {
            operations: 2,
            magnitude: MOST,
        };
        let changed = (0..50).filter(|_| strong.apply(&bytes, SIDE, &mut random) != bytes);
        assert!(changed.count() > 40);
    }
}
