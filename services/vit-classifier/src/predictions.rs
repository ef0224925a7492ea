//! Logits to probabilities, and those to the most probable labels.

use saga_proto::classifier::v1::Prediction;
use saga_serving::softmax;

/// Softmax of a row of logits.
pub(crate) fn probabilities(logits: &[f32]) -> Vec<f32> {
    let probabilities = softmax(logits.iter().copied().map(f64::from));
    probabilities.into_iter().map(|p| p as f32).collect()
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
