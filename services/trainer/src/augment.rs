//! What happens to a training image before the model sees it: RandAugment, then a random view, then random erasing.
//!
//! A view is mirror, rotation, scale and shift in one bilinear resampling, then brightness and contrast. It is mild on
//! purpose: small models from scratch on aligned faces learn nothing for hundreds of steps where views differ by more than
//! the features that tell classes apart. RandAugment is as strong as its magnitude says, for larger models and data sets.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::{erase::erase, randaugment::RandAugment, request::Settings};

/// Largest rotation, in radians (3.5 degrees).
const ROTATION: f32 = 0.06;
/// Largest relative change of size.
const SCALE: f32 = 0.06;
/// Largest shift, as a share of the image's side.
const SHIFT: f32 = 0.03;
/// Largest relative change of brightness, and of contrast.
const LIGHT: f32 = 0.25;

/// What of it is done.
#[derive(Clone, Copy, Debug)]
pub struct Augmentation {
    rand_augment: RandAugment,
    views: bool,
    /// Probability of erasing.
    erasing: f64,
}

impl Augmentation {
    /// As the settings say.
    pub fn of(settings: &Settings) -> Self {
        Self {
            rand_augment: settings.rand_augment,
            views: settings.augment,
            erasing: settings.random_erasing,
        }
    }

    /// From bytes `[3, side, side]` to values of 0 to 1 of the same shape.
    pub fn apply(&self, bytes: &[u8], side: usize, random: &mut ChaCha8Rng, image: &mut [f32]) {
        let changed = self.rand_augment.apply(bytes, side, random);
        if self.views {
            resample(&changed, side, affine(random), image);
            light(image, random);
        } else {
            for (value, &byte) in image.iter_mut().zip(changed.iter()) {
                *value = f32::from(byte) / 255.0;
            }
        }
        if self.erasing > 0.0 && random.random_bool(self.erasing) {
            erase(image, side, random);
        }
    }
}

/// A map from output to input places, 2x3, in units of half a side from the middle.
fn affine(random: &mut ChaCha8Rng) -> [f32; 6] {
    let (sin, cos) = random.random_range(-ROTATION..=ROTATION).sin_cos();
    let size = 1.0 + random.random_range(-SCALE..=SCALE);
    let mirror = if random.random_bool(0.5) { -size } else { size };
    let mut shift = || random.random_range(-2.0 * SHIFT..=2.0 * SHIFT);
    [
        mirror * cos,
        -size * sin,
        shift(),
        mirror * sin,
        size * cos,
        shift(),
    ]
}

/// Bilinear, the border repeated outside: `grid_sample` of `affine_grid` with `align_corners` off.
fn resample(bytes: &[u8], side: usize, [a, b, x, c, d, y]: [f32; 6], image: &mut [f32]) {
    let (half, middle, last) = (side as f32 / 2.0, (side as f32 - 1.0) / 2.0, side - 1);
    let plane = side * side;
    for place in 0..plane {
        let across = (place % side) as f32 - middle;
        let down = (place / side) as f32 - middle;
        let from = |by_x: f32, by_y: f32, shift: f32| {
            let at = by_x * across + by_y * down + shift * half + middle;
            let at = at.clamp(0.0, last as f32);
            let first = at as usize;
            (first, (first + 1).min(last), at - first as f32)
        };
        let ((left, right, along), (top, bottom, below)) = (from(a, b, x), from(c, d, y));
        let corners = [
            (top * side + left, (1.0 - along) * (1.0 - below)),
            (top * side + right, along * (1.0 - below)),
            (bottom * side + left, (1.0 - along) * below),
            (bottom * side + right, along * below),
        ];
        for (values, bytes) in image.chunks_exact_mut(plane).zip(bytes.chunks_exact(plane)) {
            let sum: f32 = corners
                .iter()
                .map(|&(index, share)| share * f32::from(bytes[index]))
                .sum();
            values[place] = sum / 255.0;
        }
    }
}

/// Brightness (a factor) and contrast (a factor about the image's mean).
fn light(image: &mut [f32], random: &mut ChaCha8Rng) {
    let mut factor = || 1.0 + random.random_range(-LIGHT..=LIGHT);
    let (brightness, contrast) = (factor(), factor());
    let mean = image.iter().sum::<f32>() / image.len().max(1) as f32;
    for value in image {
        *value = ((mean + (*value - mean) * contrast) * brightness).clamp(0.0, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use tch::{Kind, Tensor};

    use super::*;

    const SIDE: usize = 16;
    const VIEWS: Augmentation = Augmentation {
        rand_augment: RandAugment::NONE,
        views: true,
        erasing: 0.0,
    };

    fn random() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(5)
    }

    fn noise() -> Vec<u8> {
        (0..3 * SIDE * SIDE)
            .map(|index| (index * 37 % 256) as u8)
            .collect()
    }

    fn apply(augmentation: Augmentation, random: &mut ChaCha8Rng) -> Vec<f32> {
        let mut image = vec![0.0; 3 * SIDE * SIDE];
        augmentation.apply(&noise(), SIDE, random, &mut image);
        image
    }

    #[test]
    fn views_keep_the_range_and_follow_the_seed() {
        let (mut one, mut same) = (random(), random());
        let first = apply(VIEWS, &mut one);
        assert!(first.iter().all(|value| (0.0..=1.0).contains(value)));
        assert_eq!(first, apply(VIEWS, &mut same));
        assert_ne!(first, apply(VIEWS, &mut one));
    }

    /// Left black, right white: no view but a mirror turns that round.
    #[test]
    fn every_second_view_is_a_mirror_image() {
        let halves: Vec<u8> = (0..3 * SIDE * SIDE)
            .map(|place| if place % SIDE < SIDE / 2 { 0 } else { 255 })
            .collect();
        let mut random = random();
        let mirrored = (0..400).filter(|_| {
            let mut image = vec![0.0; halves.len()];
            VIEWS.apply(&halves, SIDE, &mut random, &mut image);
            let left = |place: &usize| place % SIDE < SIDE / 2;
            let sum = |wanted: bool| -> f32 {
                let places = (0..image.len()).filter(|place| left(place) == wanted);
                places.map(|place| image[place]).sum()
            };
            let (left, right) = (sum(true), sum(false));
            assert!(
                (left - right).abs() > 0.5 * (left + right),
                "{left} {right}"
            );
            left > right
        });
        let mirrored = mirrored.count();
        // Four standard deviations about the half.
        assert!((160..=240).contains(&mirrored), "{mirrored} of 400");
    }

    #[test]
    fn without_views_values_are_the_bytes() {
        let plain = Augmentation {
            views: false,
            ..VIEWS
        };
        let expected: Vec<f32> = noise()
            .iter()
            .map(|&byte| f32::from(byte) / 255.0)
            .collect();
        assert_eq!(apply(plain, &mut random()), expected);
    }

    #[test]
    fn resampling_is_libtorch_s() {
        let (bilinear, border) = (0, 1);
        let mut random = random();
        for _ in 0..20 {
            let map = affine(&mut random);
            let images = Tensor::from_slice(&noise())
                .view([1, 3, 16, 16])
                .to_kind(Kind::Float)
                / 255.0;
            let theta = Tensor::from_slice(&map).view([1, 2, 3]);
            let grid = Tensor::affine_grid_generator(&theta, images.size(), false);
            let theirs = images.grid_sampler(&grid, bilinear, border, false);
            let mut ours = vec![0.0; 3 * SIDE * SIDE];
            resample(&noise(), SIDE, map, &mut ours);
            let difference = (Tensor::from_slice(&ours) - theirs.view([-1])).abs().max();
            assert!(difference.double_value(&[]) < 1e-5, "{difference:?}");
        }
    }

    #[test]
    fn the_map_is_a_similarity_within_its_limits() {
        let mut random = random();
        for _ in 0..200 {
            let [a, b, x, c, d, y] = affine(&mut random);
            let size = (a * d - b * c).abs().sqrt();
            assert!((1.0 - SCALE - 1e-5..=1.0 + SCALE + 1e-5).contains(&size));
            assert!(x.abs() <= 2.0 * SHIFT && y.abs() <= 2.0 * SHIFT);
        }
    }
}
