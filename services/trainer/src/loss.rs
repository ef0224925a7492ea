//! Losses: soft-target cross-entropy for classifiers, and the contrastive loss of CLIP for images that share a class.

use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution as _};
use tch::{Kind, Tensor};

use crate::error::TrainError;

/// One-hot targets `[N, C]` f32 of `labels` `[N]` int64, smoothed: (1 - s) one-hot + s / C.
pub fn smooth_targets(labels: &Tensor, classes: i64, smoothing: f64) -> Result<Tensor, TrainError> {
    let hot = labels.f_one_hot(classes)?.f_to_kind(Kind::Float)?;
    Ok(hot
        .f_mul_scalar(1.0 - smoothing)?
        .f_add_scalar(smoothing / classes as f64)?)
}

/// Mean cross-entropy of `logits` `[N, C]` and target distributions `[N, C]`. With `class_weights` `[C]` each class's term
/// is weighted and the sum divided by the weights of the targets, as `torch.nn.functional.cross_entropy` does.
pub fn cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    class_weights: Option<&Tensor>,
) -> Result<Tensor, TrainError> {
    let terms = logits
        .f_to_kind(Kind::Float)?
        .f_log_softmax(-1, Kind::Float)?
        .f_mul(targets)?;
    let (terms, total) = match class_weights {
        Some(weights) => (
            terms.f_mul(weights)?,
            targets.f_mul(weights)?.f_sum(Kind::Float)?,
        ),
        None => (terms, targets.f_sum(Kind::Float)?),
    };
    Ok(terms.f_sum(Kind::Float)?.f_neg()?.f_div(&total)?)
}

/// Weight of each class, inverse to its number of images, with mean 1 over the images.
pub fn inverse_frequency(labels: &[u32], classes: usize) -> Vec<f32> {
    let mut counts = vec![0usize; classes];
    labels.iter().for_each(|&label| counts[label as usize] += 1);
    counts
        .iter()
        .map(|&count| labels.len() as f32 / (classes * count.max(1)) as f32)
        .collect()
}

/// What the logits are raised by in training (Menon et al. 2021, <https://arxiv.org/abs/2007.07314>): tau times the logarithm
/// of each class's share of the train images, so that the plain logits favour no class for being frequent.
pub fn logit_adjustment(labels: &[u32], classes: usize, tau: f64) -> Vec<f32> {
    let mut counts = vec![0usize; classes];
    labels.iter().for_each(|&label| counts[label as usize] += 1);
    let share = |&count: &usize| count.max(1) as f64 / labels.len().max(1) as f64;
    counts
        .iter()
        .map(|count| (tau * share(count).ln()) as f32)
        .collect()
}

/// MixUp (Zhang et al. 2018, <https://arxiv.org/abs/1710.09412>): each image and its target blended with another of the
/// batch by one share drawn from Beta(alpha, alpha).
pub fn mix_up(
    images: &Tensor,
    targets: &Tensor,
    alpha: f64,
    random: &mut ChaCha8Rng,
) -> Result<(Tensor, Tensor), TrainError> {
    let beta = Beta::new(alpha, alpha)
        .map_err(|error| TrainError::field("settings.mixup", error.to_string()))?;
    let share: f64 = beta.sample(random);
    // The batch is in random order already, so that its reverse is a random partner.
    let blend = |tensor: &Tensor| tensor.f_flip(0)?.f_lerp(tensor, share);
    Ok((blend(images)?, blend(targets)?))
}

/// Symmetric contrastive loss where several images of a batch share a class.
///
/// Image-to-text: cross-entropy of each image over the batch's texts, its target spread evenly over all texts of its class;
/// text-to-image likewise. So pairs of one class are never negatives (as in SupCon, <https://arxiv.org/abs/2004.11362>,
/// and UniCL, <https://arxiv.org/abs/2204.03610>). With one image and one text a class it is CLIP's loss.
///
/// `logits` `[images, texts]` are scaled cosines; the labels are int64 `[images]` and `[texts]`; every image needs a text of
/// its class and the other way round.
pub fn contrastive(
    logits: &Tensor,
    image_labels: &Tensor,
    text_labels: &Tensor,
) -> Result<Tensor, TrainError> {
    let same = image_labels
        .f_unsqueeze(1)?
        .f_eq_tensor(&text_labels.f_unsqueeze(0)?)?
        .f_to_kind(Kind::Float)?;
    let to_text = cross_entropy(logits, &spread(&same)?, None)?;
    let to_image = cross_entropy(&logits.f_tr()?, &spread(&same.f_tr()?)?, None)?;
    Ok(to_text.f_add(&to_image)?.f_mul_scalar(0.5)?)
}

/// Rows scaled to sum 1.
fn spread(same: &Tensor) -> Result<Tensor, TrainError> {
    let sums = same.f_sum_dim_intlist([-1i64].as_slice(), true, Kind::Float)?;
    Ok(same.f_div(&sums)?)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use tch::{Device, Reduction};

    use super::*;

    fn logits() -> Tensor {
        Tensor::from_slice(&[
            0.2f32, -1.0, 3.0, 0.5, 0.5, -0.5, 2.0, 1.0, 0.0, -2.0, 0.1, 0.7,
        ])
        .view([4, 3])
    }

    #[test]
    fn equals_libtorch_with_smoothing_and_weights() {
        let labels = Tensor::from_slice(&[2i64, 0, 1, 1]);
        let weights = Tensor::from_slice(&[0.5f32, 2.0, 1.0]);
        for (smoothing, weighted) in [(0.0, false), (0.1, false), (0.0, true)] {
            let ours = cross_entropy(
                &logits(),
                &smooth_targets(&labels, 3, smoothing).unwrap(),
                weighted.then_some(&weights),
            );
            let theirs = logits().cross_entropy_loss(
                &labels,
                weighted.then_some(&weights),
                Reduction::Mean,
                -100,
                smoothing,
            );
            assert!((ours.unwrap().double_value(&[]) - theirs.double_value(&[])).abs() < 1e-6);
        }
    }

    #[test]
    fn weights_have_mean_one_over_the_images() {
        let labels = [0, 0, 0, 1, 2, 2];
        let weights = inverse_frequency(&labels, 3);
        let mean: f32 = labels
            .iter()
            .map(|&label| weights[label as usize])
            .sum::<f32>()
            / labels.len() as f32;
        assert!((mean - 1.0).abs() < 1e-6);
        assert!((weights[1] / weights[0] - 3.0).abs() < 1e-6);
    }

    /// With equal plain logits, the adjusted ones answer with the shares of the train images.
    #[test]
    fn adjusted_logits_are_those_of_the_shares() {
        let adjustment = logit_adjustment(&[0, 0, 0, 1], 2, 2.0);
        assert!((adjustment[0] - 2.0 * 0.75f32.ln()).abs() < 1e-6);
        assert!((adjustment[1] - 2.0 * 0.25f32.ln()).abs() < 1e-6);
        let softmax =
            Tensor::from_slice(&logit_adjustment(&[0, 0, 0, 1], 2, 1.0)).softmax(-1, Kind::Float);
        assert!((softmax.double_value(&[1]) - 0.25).abs() < 1e-6);
    }

    #[test]
    fn mix_up_keeps_distributions() {
        let images = Tensor::rand([4, 3, 8, 8], (Kind::Float, Device::Cpu));
        let targets = smooth_targets(&Tensor::from_slice(&[0i64, 1, 2, 0]), 3, 0.0).unwrap();
        let (mixed, mixed_targets) =
            mix_up(&images, &targets, 0.4, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        assert_eq!(mixed.size(), images.size());
        let sums = mixed_targets.sum_dim_intlist([-1i64].as_slice(), false, Kind::Float);
        assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-6);
        let share = mixed_targets.double_value(&[1, 1]);
        let expected = images.get(0) * share + images.get(3) * (1.0 - share);
        assert!((mixed.get(0) - expected).abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn contrastive_is_the_loss_of_clip_for_distinct_classes() {
        let logits =
            Tensor::from_slice(&[4.0f32, 1.0, 0.0, 2.0, 3.0, -1.0, 0.5, 0.0, 5.0]).view([3, 3]);
        let labels = Tensor::from_slice(&[0i64, 1, 2]);
        let clip = (logits.cross_entropy_for_logits(&labels)
            + logits.tr().cross_entropy_for_logits(&labels))
            / 2.0;
        let ours = contrastive(&logits, &labels, &labels).unwrap();
        assert!((ours.double_value(&[]) - clip.double_value(&[])).abs() < 1e-6);
    }

    #[test]
    fn contrastive_has_no_negatives_within_a_class() {
        let labels = Tensor::from_slice(&[0i64, 0, 1]);
        let right = Tensor::from_slice(&[9.0f32, 0.0, 9.0, 0.0, 0.0, 9.0]).view([3, 2]);
        let texts = Tensor::from_slice(&[0i64, 1]);
        let loss = contrastive(&right, &labels, &texts)
            .unwrap()
            .double_value(&[]);
        // Only the text of class 0 must share its mass between two images: ln 2, one of two texts, half of the loss.
        assert!((loss - 0.25 * 2f64.ln()).abs() < 1e-3, "{loss}");
    }
}
