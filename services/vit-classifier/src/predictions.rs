//! Logits to probabilities, and those to the most probable labels.

use saga_proto::classifier::v1::Prediction;

/// Softmax of a row of logits.
pub(crate) fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Index and probability, most probable first; equal ones in label order.
pub(crate) fn ranked(probabilities: &[f32]) -> Vec<(usize, f32)> {
    let mut ranked: Vec<_> = probabilities.iter().copied().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

/// The `top_k` (0: all) most probable labels of at least `threshold`.
pub(crate) fn top(
    probabilities: &[f32],
    labels: &[String],
    top_k: u32,
    threshold: f64,
) -> Vec<Prediction> {
    let most = if top_k == 0 {
        usize::MAX
    } else {
        top_k as usize
    };
    ranked(probabilities)
        .into_iter()
        .zip(0..most)
        .map(|((index, probability), _)| Prediction {
            label: labels.get(index).cloned().unwrap_or_default(),
            index: index as u32,
            probability: probability.into(),
        })
        .filter(|prediction| prediction.probability >= threshold)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one_and_does_not_overflow() {
        assert_eq!(softmax(&[1e9, 0.0, -1e9]), [1.0, 0.0, 0.0]);
        let [a, b] = softmax(&[0.0, 2.0_f32.ln()])[..] else {
            panic!("two logits")
        };
        assert!((a - 1.0 / 3.0).abs() < 1e-6 && (a + b - 1.0).abs() < 1e-6);
    }

    fn names(top_k: u32, threshold: f64) -> String {
        let labels = ["a", "b", "c"].map(str::to_owned);
        top(&[0.25, 0.5, 0.25], &labels, top_k, threshold)
            .into_iter()
            .map(|prediction| prediction.label)
            .collect()
    }

    #[test]
    fn most_probable_first_cut_by_number_and_threshold() {
        assert_eq!(names(0, 0.0), "bac");
        assert_eq!(names(2, 0.0), "ba");
        assert_eq!(names(0, 0.3), "b");
        assert_eq!(names(9, 0.25), "bac");
        assert_eq!(names(1, 0.9), "");
    }
}
