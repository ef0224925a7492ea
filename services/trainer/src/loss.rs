//! Losses: soft-target cross-entropy for classifiers, with two variants for long tails, and the contrastive loss of CLIP for
//! images that share a class.

use tch::{Device, Kind, Tensor};

use crate::error::TrainError;

/// One-hot targets `[N, C]` f32 of `labels` `[N]` int64, smoothed by s: (1 - s) one-hot + s `spread`, which is `[C]` and sums to 1.
pub fn smooth_targets(
    labels: &Tensor,
    spread: &Tensor,
    smoothing: f64,
) -> Result<Tensor, TrainError> {
    let hot = labels.f_one_hot(spread.size1()?)?.f_to_kind(Kind::Float)?;
    Ok(hot
        .f_mul_scalar(1.0 - smoothing)?
        .f_add(&spread.f_mul_scalar(smoothing)?)?)
}

/// What smoothing hands to each of the classes, `[C]`: the same to all, once `adjustment` of the logits and `weights` of the classes, `[C]`
/// as well, have done their part. Handed out evenly before, it would count so much more for a scarce class that the model takes
/// everything for that: with 5 of 1,000 images a class is owed 0.5 %, and smoothing by 0.1 over 8 classes alone gives it 1.25 %.
pub fn even_spread(
    classes: i64,
    adjustment: Option<&Tensor>,
    weights: Option<&Tensor>,
    device: Device,
) -> Result<Tensor, TrainError> {
    let mut spread = Tensor::f_ones([classes], (Kind::Float, device))?;
    if let Some(adjustment) = adjustment {
        spread = spread.f_mul(&adjustment.f_exp()?)?;
    }
    if let Some(weights) = weights {
        spread = spread.f_div(weights)?;
    }
    Ok(spread.f_div(&spread.f_sum(Kind::Float)?)?)
}

/// What counts more in a loss than the rest; by default nothing does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighting<'a> {
    /// `[C]`: the terms of each class.
    pub classes: Option<&'a Tensor>,
    /// `[N, 1]`: all terms of each image.
    pub images: Option<&'a Tensor>,
}

/// Mean cross-entropy of `logits` `[N, C]` and target distributions `[N, C]`. Weighted terms are summed up and divided by the
/// weighted sum of the targets, as `torch.nn.functional.cross_entropy` does with class weights, so that weights shift the loss
/// between images and leave its scale, and that of its gradient, as they are.
pub fn cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    weighting: Weighting,
) -> Result<Tensor, TrainError> {
    let terms = log_softmax(logits)?.f_mul(targets)?;
    weighting.mean(&terms, targets)
}

/// Focal loss (Lin et al. 2017, <https://arxiv.org/abs/1708.02002>) over a softmax: the terms of [`cross_entropy`] times
/// (1 - p)^gamma, so that images which the model is sure of count for little.
pub fn focal(
    logits: &Tensor,
    targets: &Tensor,
    gamma: f64,
    weighting: Weighting,
) -> Result<Tensor, TrainError> {
    let logs = log_softmax(logits)?;
    // Rounding must not make the base of the power negative.
    let unsure = logs.f_exp()?.f_neg()?.f_add_scalar(1.0)?.f_clamp_min(0.0)?;
    let terms = logs
        .f_mul(targets)?
        .f_mul(&unsure.f_pow_tensor_scalar(gamma)?)?;
    weighting.mean(&terms, targets)
}

/// LDAM (Cao et al. 2019, <https://arxiv.org/abs/1906.07413>): cross-entropy of logits whose own class has to win by a margin
/// `[C]`, see [`ldam_margins`]; under soft targets each class by its share of the margin. The paper multiplies them by a scale, as
/// its head gives cosines. A plain head finds its own scale, and served logits would lack another.
pub fn ldam(
    logits: &Tensor,
    targets: &Tensor,
    margins: &Tensor,
    weighting: Weighting,
) -> Result<Tensor, TrainError> {
    let logits = logits
        .f_to_kind(Kind::Float)?
        .f_sub(&targets.f_mul(margins)?)?;
    cross_entropy(&logits, targets, weighting)
}

/// Margins of the classes: proportional to their number of images to the power of -1/4, `largest` for the rarest. `counts` of
/// this and the following are [`class_totals`](crate::split::Split::class_totals).
pub fn ldam_margins(counts: &[f64], largest: f64) -> Vec<f32> {
    let roots: Vec<f64> = counts.iter().map(|count| count.powf(-0.25)).collect();
    let most = roots.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    roots
        .iter()
        .map(|root| (root * largest / most) as f32)
        .collect()
}

fn log_softmax(logits: &Tensor) -> Result<Tensor, TrainError> {
    let logits = logits.f_to_kind(Kind::Float)?;
    Ok(logits.f_log_softmax(-1, Kind::Float)?)
}

impl Weighting<'_> {
    /// Minus the sum of terms `[N, C]` over that of the targets, both weighted.
    fn mean(&self, terms: &Tensor, targets: &Tensor) -> Result<Tensor, TrainError> {
        let total = self.sum(targets)?;
        Ok(self.sum(terms)?.f_neg()?.f_div(&total)?)
    }

    fn sum(&self, values: &Tensor) -> Result<Tensor, TrainError> {
        let mut values = values.shallow_clone();
        for weights in [self.classes, self.images].into_iter().flatten() {
            values = values.f_mul(weights)?;
        }
        Ok(values.f_sum(Kind::Float)?)
    }
}

/// Weight of each class, inverse to its number of images, with mean 1 over the images.
pub fn inverse_frequency(counts: &[f64]) -> Vec<f32> {
    let images: f64 = counts.iter().sum();
    counts
        .iter()
        .map(|count| (images / (counts.len() as f64 * count)) as f32)
        .collect()
}

/// What the logits are raised by in training (Menon et al. 2021, <https://arxiv.org/abs/2007.07314>): tau times the logarithm
/// of each class's share of the train images, so that the plain logits favour no class for being frequent.
pub fn logit_adjustment(counts: &[f64], tau: f64) -> Vec<f32> {
    let images: f64 = counts.iter().sum();
    counts
        .iter()
        .map(|count| (tau * (count / images).ln()) as f32)
        .collect()
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
    let plain = Weighting::default();
    let to_text = cross_entropy(logits, &spread(&same)?, plain)?;
    let to_image = cross_entropy(&logits.f_tr()?, &spread(&same.f_tr()?)?, plain)?;
    Ok(to_text.f_add(&to_image)?.f_mul_scalar(0.5)?)
}

/// Rows scaled to sum 1.
fn spread(same: &Tensor) -> Result<Tensor, TrainError> {
    let sums = same.f_sum_dim_intlist([-1i64].as_slice(), true, Kind::Float)?;
    Ok(same.f_div(&sums)?)
}

#[cfg(test)]
mod tests {
    use tch::Reduction;

    use super::*;
    use crate::split::Split;

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
                &smooth_targets(&labels, &evenly(3), smoothing).unwrap(),
                Weighting {
                    classes: weighted.then_some(&weights),
                    images: None,
                },
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

    fn evenly(classes: i64) -> Tensor {
        even_spread(classes, None, None, Device::Cpu).unwrap()
    }

    /// Three images of one class and one of the other that look alike: corrected for the counts, neither class is to be favoured.
    #[test]
    fn smoothing_favours_no_class_where_the_loss_corrects_for_their_counts() {
        let counts = [3.0, 1.0];
        let labels = Tensor::from_slice(&[0i64, 0, 0, 1]);
        let adjustment = Tensor::from_slice(&logit_adjustment(&counts, 1.0));
        let weights = Tensor::from_slice(&inverse_frequency(&counts));
        let pull = |spread: &Tensor, adjustment: Option<&Tensor>, weights: Option<&Tensor>| {
            let logits = Tensor::zeros([1, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let seen = logits.expand([4, 2], false);
            let seen = adjustment.map_or_else(|| seen.shallow_clone(), |by| &seen + by);
            let targets = smooth_targets(&labels, spread, 0.2).unwrap();
            let weighting = Weighting {
                classes: weights,
                images: None,
            };
            cross_entropy(&seen, &targets, weighting)
                .unwrap()
                .backward();
            logits.grad().double_value(&[0, 1])
        };
        for (adjustment, weights) in [(Some(&adjustment), None), (None, Some(&weights))] {
            let spread = even_spread(2, adjustment, weights, Device::Cpu).unwrap();
            assert!((spread.double_value(&[1]) - 0.25).abs() < 1e-6);
            assert!(pull(&spread, adjustment, weights).abs() < 1e-6);
            // A negative gradient raises the scarce class.
            assert!(pull(&evenly(2), adjustment, weights) < -0.01);
        }
    }

    #[test]
    fn weights_have_mean_one_over_the_images() {
        let weights = inverse_frequency(&[3.0, 1.0, 2.0]);
        let mean = (3.0 * weights[0] + weights[1] + 2.0 * weights[2]) / 6.0;
        assert!((mean - 1.0).abs() < 1e-6);
        assert!((weights[1] / weights[0] - 3.0).abs() < 1e-6);
    }

    /// With equal plain logits, the adjusted ones answer with the shares of the train images.
    #[test]
    fn adjusted_logits_are_those_of_the_shares() {
        let adjustment = logit_adjustment(&[3.0, 1.0], 2.0);
        assert!((adjustment[0] - 2.0 * 0.75f32.ln()).abs() < 1e-6);
        assert!((adjustment[1] - 2.0 * 0.25f32.ln()).abs() < 1e-6);
        let softmax =
            Tensor::from_slice(&logit_adjustment(&[3.0, 1.0], 1.0)).softmax(-1, Kind::Float);
        assert!((softmax.double_value(&[1]) - 0.25).abs() < 1e-6);
    }

    /// `tests/fixtures/losses.json`, made by `losses.py` beside it.
    #[test]
    fn focal_and_ldam_are_the_papers_formulas() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/losses.json");
        let cases: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let tensor = |name: &str| {
            let rows: Vec<Vec<f32>> = serde_json::from_value(cases[name].clone()).unwrap();
            Tensor::from_slice2(&rows)
        };
        let (logits, targets) = (tensor("logits"), tensor("targets"));
        let split = Split {
            labels: serde_json::from_value(cases["labels"].clone()).unwrap(),
            ..Default::default()
        };
        let counts = split.class_totals(3, 1.0);
        let weights = Tensor::from_slice(&inverse_frequency(&counts));
        let margins = Tensor::from_slice(&ldam_margins(&counts, 0.5));
        for weighted in [false, true] {
            let weights = Weighting {
                classes: weighted.then_some(&weights),
                images: None,
            };
            let check = |name: &str, ours: Result<Tensor, TrainError>| {
                let key = if weighted {
                    format!("{name}_weighted")
                } else {
                    name.into()
                };
                let theirs = cases[key.as_str()].as_f64().unwrap();
                let ours = ours.unwrap().double_value(&[]);
                assert!(
                    (ours - theirs).abs() < 2e-5 * theirs,
                    "{key}: {ours}, not {theirs}"
                );
            };
            check("focal", focal(&logits, &targets, 2.0, weights));
            check("ldam", ldam(&logits, &targets, &margins, weights));
        }
        let plain = Weighting::default();
        let zero = focal(&logits, &targets, 0.0, plain).unwrap();
        let plain = cross_entropy(&logits, &targets, plain).unwrap();
        assert!((plain - zero).abs().double_value(&[]) < 1e-6);
    }

    /// Whatever the loss and the classes weigh: a weighted batch is the weighted mean of its images' losses, each class weight
    /// counted in, and images that all weigh the same are as if they had no weights.
    #[test]
    fn each_image_counts_its_weight() {
        let labels = Tensor::from_slice(&[2i64, 0, 1, 1]);
        let targets = smooth_targets(&labels, &evenly(3), 0.1).unwrap();
        let of_classes = Tensor::from_slice(&[0.5f32, 2.0, 1.0]);
        let margins = Tensor::from_slice(&ldam_margins(&[3.0, 1.0, 2.0], 0.5));
        let of_images = [1.0f32, 0.25, 1.0, 0.25];
        let column = |weights: &[f32]| Tensor::from_slice(weights).view([-1, 1]);
        type Loss<'a> = &'a dyn Fn(&Tensor, &Tensor, Weighting) -> Result<Tensor, TrainError>;
        let losses: [Loss; 3] = [
            &cross_entropy,
            &|logits, targets, weighting| focal(logits, targets, 2.0, weighting),
            &|logits, targets, weighting| ldam(logits, targets, &margins, weighting),
        ];
        for loss in losses {
            for classes in [None, Some(&of_classes)] {
                let whole = |images: Option<&Tensor>| {
                    let weighting = Weighting { classes, images };
                    loss(&logits(), &targets, weighting).unwrap()
                };
                let (mut sum, mut total) = (0.0, 0.0);
                for (image, &weight) in of_images.iter().enumerate() {
                    let row = |of: &Tensor| of.narrow(0, image as i64, 1);
                    let alone = Weighting {
                        classes,
                        images: None,
                    };
                    let value = loss(&row(&logits()), &row(&targets), alone).unwrap();
                    let mass = alone.sum(&row(&targets)).unwrap().double_value(&[]);
                    sum += f64::from(weight) * mass * value.double_value(&[]);
                    total += f64::from(weight) * mass;
                }
                let weighted = whole(Some(&column(&of_images))).double_value(&[]);
                assert!((weighted - sum / total).abs() < 1e-5 * weighted);
                let plain = whole(None);
                assert!((weighted - plain.double_value(&[])).abs() > 1e-3);
                assert_eq!(whole(Some(&column(&[1.0; 4]))), plain, "to the bit");
            }
        }
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
