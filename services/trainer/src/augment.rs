//! Random views of training images: mirror, rotation, scale and shift in one bilinear resampling, then brightness and
//! contrast.
//!
//! Mild on purpose: small models from scratch on aligned faces learn nothing for hundreds of steps where views differ by
//! more than the features that tell classes apart.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use crate::error::TrainError;

/// Largest rotation, in radians (3.5 degrees).
const ROTATION: f32 = 0.06;
/// Largest relative change of size.
const SCALE: f32 = 0.06;
/// Largest shift, as a share of the image's side.
const SHIFT: f32 = 0.03;
/// Largest relative change of brightness, and of contrast.
const LIGHT: f32 = 0.25;

/// `grid_sample` codes: bilinear, and the border repeated outside.
const BILINEAR: i64 = 0;
const BORDER: i64 = 1;

/// A random view of each image of `[N, 3, H, W]` with values 0 to 1, of the same shape and range.
pub fn views(images: &Tensor, random: &mut ChaCha8Rng) -> Result<Tensor, TrainError> {
    light(&resample(images, random)?, random)
}

/// Mirror, rotation, scale and shift.
fn resample(images: &Tensor, random: &mut ChaCha8Rng) -> Result<Tensor, TrainError> {
    let count = images.size()[0];
    let affine: Vec<f32> = (0..count).flat_map(|_| affine(random)).collect();
    let affine = Tensor::f_from_slice(&affine)?
        .f_view([count, 2, 3])?
        .f_to_device(images.device())?;
    let grid = Tensor::f_affine_grid_generator(&affine, images.size(), false)?;
    Ok(images.f_grid_sampler(&grid, BILINEAR, BORDER, false)?)
}

/// A map from output to input places, 2x3, in units of half a side.
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

/// Brightness (a factor) and contrast (a factor about each image's mean).
fn light(images: &Tensor, random: &mut ChaCha8Rng) -> Result<Tensor, TrainError> {
    let count = images.size()[0];
    let mut factors = || -> Result<Tensor, TrainError> {
        let factors: Vec<f32> = (0..count)
            .map(|_| 1.0 + random.random_range(-LIGHT..=LIGHT))
            .collect();
        Ok(Tensor::f_from_slice(&factors)?
            .f_view([count, 1, 1, 1])?
            .f_to_device(images.device())?)
    };
    let (brightness, contrast) = (factors()?, factors()?);
    let mean = images.f_mean_dim([1i64, 2, 3].as_slice(), true, Kind::Float)?;
    Ok(mean
        .f_lerp_tensor(images, &contrast)?
        .f_mul(&brightness)?
        .f_clamp(0.0, 1.0)?)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use tch::Device;

    use super::*;

    fn random() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(5)
    }

    #[test]
    fn keeps_shape_and_range_and_input() {
        let images = Tensor::rand([6, 3, 20, 20], (Kind::Float, Device::Cpu));
        let before = images.copy();
        let seen = views(&images, &mut random()).unwrap();
        assert_eq!(seen.size(), images.size());
        assert!(seen.min().double_value(&[]) >= 0.0 && seen.max().double_value(&[]) <= 1.0);
        assert!(bool::try_from(seen.isfinite().all()).unwrap());
        assert_eq!(images, before);
        assert_ne!(seen, images);
    }

    #[test]
    fn same_seed_same_views() {
        let images = Tensor::rand([3, 3, 16, 16], (Kind::Float, Device::Cpu));
        assert_eq!(
            views(&images, &mut random()).unwrap(),
            views(&images, &mut random()).unwrap()
        );
    }

    #[test]
    fn a_flat_grey_image_stays_flat_under_resampling() {
        let images = Tensor::full([4, 3, 16, 16], 0.5, (Kind::Float, Device::Cpu));
        let seen = resample(&images, &mut random()).unwrap();
        assert!((seen - 0.5).abs().max().double_value(&[]) < 1e-6);
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
