//! Scores of predictions: accuracy, per-class recall, balanced accuracy, macro F1 and the confusion matrix, with the
//! meanings of scikit-learn.

use serde::{Deserialize, Serialize};

/// Counts of (true class, predicted class), and what follows from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confusion {
    /// `rows[truth][prediction]`.
    rows: Vec<Vec<u64>>,
}

impl Confusion {
    /// Counts over `classes` classes; pairs of class indexes outside them are ignored.
    pub fn new(classes: usize, truth: &[u32], predicted: &[u32]) -> Self {
        let mut rows = vec![vec![0; classes]; classes];
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            if let Some(cell) = rows
                .get_mut(truth as usize)
                .and_then(|row| row.get_mut(predicted as usize))
            {
                *cell += 1;
            }
        }
        Self { rows }
    }

    /// Whether nothing was predicted, as by a model that does not classify.
    pub fn is_empty(&self) -> bool {
        self.rows.iter().flatten().all(|&count| count == 0)
    }

    /// Share of right predictions; 0 without images.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.rows.len())
            .map(|class| self.rows[class][class])
            .sum();
        ratio(right, self.rows.iter().flatten().sum()).unwrap_or(0.0)
    }

    /// Share of each class's images that were recognised; `None` for a class without images.
    pub fn recalls(&self) -> Vec<Option<f64>> {
        (0..self.rows.len())
            .map(|class| ratio(self.rows[class][class], self.truths(class)))
            .collect()
    }

    /// `balanced_accuracy_score`: mean recall of the classes that have images.
    pub fn balanced_accuracy(&self) -> f64 {
        mean(self.recalls().into_iter().flatten())
    }

    /// `f1_score(average="macro")`: mean F1 of the classes that have images or were predicted.
    pub fn macro_f1(&self) -> f64 {
        mean((0..self.rows.len()).filter_map(|class| {
            let predictions: u64 = self.rows.iter().map(|row| row[class]).sum();
            ratio(
                2 * self.rows[class][class],
                self.truths(class) + predictions,
            )
        }))
    }

    fn truths(&self, class: usize) -> u64 {
        self.rows[class].iter().sum()
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 {
        0.0
    } else {
        sum / f64::from(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of scikit-learn 1.7 for the same vectors: accuracy_score, balanced_accuracy_score, f1_score(macro).
    #[test]
    fn agrees_with_scikit_learn() {
        let truth = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2];
        let predicted = [0, 0, 1, 2, 1, 0, 2, 2, 2, 1];
        let scores = Confusion::new(4, &truth, &predicted);
        assert!((scores.accuracy() - 0.6).abs() < 1e-12);
        assert!((scores.balanced_accuracy() - 0.583_333_333_333_333_3).abs() < 1e-12);
        assert!((scores.macro_f1() - 0.573_809_523_809_523_8).abs() < 1e-12);
        assert_eq!(scores.recalls(), [Some(0.5), Some(0.5), Some(0.75), None]);
    }

    #[test]
    fn a_class_predicted_but_absent_costs_f1_and_not_recall() {
        let scores = Confusion::new(3, &[0, 0, 1, 1], &[0, 0, 1, 2]);
        assert!((scores.balanced_accuracy() - 0.75).abs() < 1e-12);
        assert!((scores.macro_f1() - (1.0 + 2.0 / 3.0 + 0.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn no_images_score_zero() {
        let scores = Confusion::new(3, &[], &[]);
        assert_eq!(
            (
                scores.accuracy(),
                scores.macro_f1(),
                scores.balanced_accuracy()
            ),
            (0.0, 0.0, 0.0)
        );
    }
}
