//! How well a classifier does: confusion matrix, recall, accuracy, F1.
//!
//! Definitions follow scikit-learn: balanced accuracy is the mean recall over the classes that occur; macro F1 averages over the
//! classes that occur or are predicted, an undefined F1 counting 0.

use serde::{Deserialize, Serialize};

/// Counts by true class (row) and predicted class (column).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confusion(Vec<Vec<u64>>);

impl Confusion {
    /// Empty, for `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self(vec![vec![0; classes]; classes])
    }

    /// Counts one image; an index out of range is ignored.
    pub fn add(&mut self, truth: usize, predicted: usize) {
        if let Some(count) = self.0.get_mut(truth).and_then(|row| row.get_mut(predicted)) {
            *count += 1;
        }
    }

    fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.0
            .get(truth)
            .and_then(|row| row.get(predicted))
            .copied()
            .unwrap_or(0)
    }

    fn support(&self, truth: usize) -> u64 {
        self.0.get(truth).map_or(0, |row| row.iter().sum())
    }

    /// Share of a class's images that were taken for another class; 0 where there are none.
    pub fn rate(&self, truth: usize, predicted: usize) -> f64 {
        ratio(self.count(truth, predicted), self.support(truth)).unwrap_or(0.0)
    }

    /// Images counted.
    pub fn total(&self) -> u64 {
        self.0.iter().flatten().sum()
    }

    /// Recall of each class; `None` where it has no image.
    pub fn recall(&self) -> Vec<Option<f64>> {
        (0..self.0.len())
            .map(|class| ratio(self.count(class, class), self.support(class)))
            .collect()
    }

    /// Share of images that are right; `None` without images.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(
            (0..self.0.len())
                .map(|class| self.count(class, class))
                .sum(),
            self.total(),
        )
    }

    /// Mean recall over the classes that occur.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        mean(self.recall().into_iter().flatten())
    }

    /// Mean F1 over the classes that occur or are predicted.
    pub fn macro_f1(&self) -> Option<f64> {
        mean((0..self.0.len()).filter_map(|class| {
            let predicted: u64 = (0..self.0.len())
                .map(|truth| self.count(truth, class))
                .sum();
            ratio(
                2 * self.count(class, class),
                self.support(class) + predicted,
            )
        }))
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0u64, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confusion(rows: &[&[u64]]) -> Confusion {
        Confusion(rows.iter().map(|row| row.to_vec()).collect())
    }

    /// By scikit-learn's definitions: y_true = [0]*5 + [1]*3 + [2]*2, y_pred = [0,0,0,0,1, 1,1,0, 0,1].
    #[test]
    fn figures_equal_the_reference() {
        let found = confusion(&[&[4, 1, 0], &[1, 2, 0], &[1, 1, 0]]);
        let close = |value: Option<f64>, expected: f64| {
            assert!((value.unwrap() - expected).abs() < 1e-9, "{value:?}")
        };
        close(found.accuracy(), 0.6);
        close(found.balanced_accuracy(), (0.8 + 2.0 / 3.0) / 3.0);
        close(found.macro_f1(), (8.0 / 11.0 + 4.0 / 7.0) / 3.0);
    }

    #[test]
    fn a_class_without_images_has_no_recall_and_does_not_count() {
        let found = confusion(&[&[1, 0], &[0, 0]]);
        assert_eq!(found.recall(), [Some(1.0), None]);
        assert_eq!(found.balanced_accuracy(), Some(1.0));
        assert_eq!(Confusion::new(2).accuracy(), None);
    }
}
