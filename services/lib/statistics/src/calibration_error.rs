//! Expected calibration error (Guo et al. 2017, <https://arxiv.org/abs/1706.04599>).

/// Mean distance between how sure and how right a classifier is, over equal-width bins of its top probability, each weighted by
/// its share of the answers; bins are open below and closed above, as torchmetrics' L1 norm has them. `None` without answers.
///
/// `answers`: probability of the predicted class, 0 to 1, and whether it was right.
pub fn expected_calibration_error(answers: &[(f64, bool)], bins: usize) -> Option<f64> {
    if answers.is_empty() || bins == 0 {
        return None;
    }
    let mut gaps = vec![0.0; bins];
    for &(probability, right) in answers {
        let bin = (probability * bins as f64).ceil() as usize;
        gaps[bin.saturating_sub(1).min(bins - 1)] += f64::from(right) - probability;
    }
    Some(gaps.iter().map(|gap| gap.abs()).sum::<f64>() / answers.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bins of a third: (.2 wrong, .3 right), (.6 right), (.9 wrong, 1.0 right): |1 - .5| + |1 - .6| + |1 - 1.9| over 5.
    #[test]
    fn gaps_are_weighted_by_the_answers_of_their_bin() {
        let answers = [
            (0.2, false),
            (0.3, true),
            (0.6, true),
            (0.9, false),
            (1.0, true),
        ];
        let error = expected_calibration_error(&answers, 3).unwrap();
        assert!((error - 1.8 / 5.0).abs() < 1e-12, "{error}");
    }

    #[test]
    fn as_sure_as_right_is_no_error() {
        let answers = [(0.5, true), (0.5, false), (1.0, true)];
        assert_eq!(expected_calibration_error(&answers, 15), Some(0.0));
        assert_eq!(expected_calibration_error(&[], 15), None);
    }
}
