//! Blends of a batch with itself: MixUp and CutMix, each image with the one that mirrors its place in the batch.
//!
//! Batches are in random order already, so that the reverse of a batch gives every image a random partner.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution as _};
use tch::Tensor;

use crate::error::TrainError;

/// A batch's images and a row for each that is blended as the images are: its target, and what else it comes with. By
/// MixUp, CutMix, or where both alphas are above 0 one of them, drawn for each batch as timm does; neither where both are 0.
pub fn mix(
    images: Tensor,
    targets: Tensor,
    (mixup, cutmix): (f64, f64),
    random: &mut ChaCha8Rng,
) -> Result<(Tensor, Tensor), TrainError> {
    let cuts = cutmix > 0.0 && (mixup <= 0.0 || random.random_bool(0.5));
    if cuts {
        cut_mix(&images, &targets, cutmix, random)
    } else if mixup > 0.0 {
        mix_up(&images, &targets, mixup, random)
    } else {
        Ok((images, targets))
    }
}

/// MixUp (Zhang et al. 2018, <https://arxiv.org/abs/1710.09412>): each image and its target blended with another of the
/// batch by one share drawn from Beta(alpha, alpha).
fn mix_up(
    images: &Tensor,
    targets: &Tensor,
    alpha: f64,
    random: &mut ChaCha8Rng,
) -> Result<(Tensor, Tensor), TrainError> {
    let share = share("settings.mixup", alpha, random)?;
    Ok((blend(images, share)?, blend(targets, share)?))
}

/// CutMix (Yun et al. 2019, <https://arxiv.org/abs/1905.04899>): a rectangle of another image pasted into each, at one place
/// for the batch. Its area is a share of 1 less one drawn from Beta(alpha, alpha); what the border cuts off it counts in the
/// targets, which are blended by the area that was pasted.
fn cut_mix(
    images: &Tensor,
    targets: &Tensor,
    alpha: f64,
    random: &mut ChaCha8Rng,
) -> Result<(Tensor, Tensor), TrainError> {
    let (_, _, height, width) = images.size4()?;
    let side = (1.0 - share("settings.cutmix", alpha, random)?).sqrt();
    let mut span = |length: i64| {
        let half = (length as f64 * side) as i64 / 2;
        let middle = random.random_range(0..length);
        let first = (middle - half).max(0);
        (first, (middle + half).min(length) - first)
    };
    let ((top, rows), (left, columns)) = (span(height), span(width));
    let mixed = images.f_empty_like()?;
    mixed.shallow_clone().f_copy_(images)?;
    let part = |tensor: &Tensor| tensor.f_narrow(2, top, rows)?.f_narrow(3, left, columns);
    part(&mixed)?.f_copy_(&part(&images.f_flip(0)?)?)?;
    let kept = 1.0 - (rows * columns) as f64 / (height * width) as f64;
    Ok((mixed, blend(targets, kept)?))
}

/// A draw from Beta(alpha, alpha).
fn share(field: &'static str, alpha: f64, random: &mut ChaCha8Rng) -> Result<f64, TrainError> {
    let beta = Beta::new(alpha, alpha);
    let beta = beta.map_err(|error| TrainError::field(field, error.to_string()))?;
    Ok(beta.sample(random))
}

/// `share` of a batch and the rest of its reverse.
fn blend(tensor: &Tensor, share: f64) -> Result<Tensor, TrainError> {
    Ok(tensor.f_flip(0)?.f_lerp(tensor, share)?)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use tch::{Device, Kind};

    use super::*;

    fn random() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(1)
    }

    fn batch() -> (Tensor, Tensor) {
        let images = Tensor::rand([4, 3, 8, 8], (Kind::Float, Device::Cpu));
        let labels = Tensor::from_slice(&[0i64, 1, 2, 0]);
        (images, labels.one_hot(3).to_kind(Kind::Float))
    }

    fn assert_distributions(targets: &Tensor) {
        let sums = targets.sum_dim_intlist([-1i64].as_slice(), false, Kind::Float);
        assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn mix_up_keeps_distributions() {
        let (images, targets) = batch();
        let (mixed, mixed_targets) = mix_up(&images, &targets, 0.4, &mut random()).unwrap();
        assert_distributions(&mixed_targets);
        let share = mixed_targets.double_value(&[1, 1]);
        let expected = images.get(0) * share + images.get(3) * (1.0 - share);
        assert!((mixed.get(0) - expected).abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn cut_mix_counts_the_pixels_that_it_pasted() {
        let (images, targets) = batch();
        let mut random = random();
        let mut pasted_some = false;
        for _ in 0..20 {
            let (mixed, mixed_targets) = cut_mix(&images, &targets, 1.0, &mut random).unwrap();
            assert_distributions(&mixed_targets);
            let own = mixed.eq_tensor(&images).to_kind(Kind::Double);
            let partner = mixed.eq_tensor(&images.flip(0)).to_kind(Kind::Double);
            assert_eq!((&own + &partner).min().double_value(&[]), 1.0);
            let kept = own.get(1).mean(Kind::Double).double_value(&[]);
            assert!((mixed_targets.double_value(&[1, 1]) - kept).abs() < 1e-6);
            pasted_some |= kept > 0.0 && kept < 1.0;
        }
        assert!(pasted_some);
    }

    #[test]
    fn nothing_is_mixed_without_an_alpha() {
        let (images, targets) = batch();
        let (mixed, same) = mix(
            images.shallow_clone(),
            targets.shallow_clone(),
            (0.0, 0.0),
            &mut random(),
        )
        .unwrap();
        assert!(mixed == images && same == targets);
    }
}
