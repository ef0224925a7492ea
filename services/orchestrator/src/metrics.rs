//! How well a classifier does: confusion matrix, recall, accuracy, F1, and the interval of a paired difference.
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

/// One image judged by both models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paired {
    /// True class.
    pub truth: usize,
    /// The baseline's answer.
    pub baseline: usize,
    /// The augmented model's answer.
    pub augmented: usize,
}

/// Percentile bootstrap interval (2.5 %, 97.5 %) of the difference in balanced accuracy, augmented minus baseline.
///
/// Paired: a resample draws images, so both models are judged on the same ones; stratified: within each class, so that a
/// class of few images never drops out. `None` without images. Deterministic by seed.
pub fn bootstrap_delta(
    pairs: &[Paired],
    classes: usize,
    resamples: u32,
    seed: u64,
) -> Option<[f64; 2]> {
    use rand::{RngExt as _, SeedableRng as _};
    let differences: Vec<Vec<i8>> = (0..classes)
        .map(|class| {
            pairs
                .iter()
                .filter(|pair| pair.truth == class)
                .map(difference)
                .collect()
        })
        .filter(|images: &Vec<i8>| !images.is_empty())
        .collect();
    if differences.is_empty() || resamples == 0 {
        return None;
    }
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut deltas: Vec<f64> = (0..resamples)
        .map(|_| {
            let recalls = differences.iter().map(|images| {
                let sum: i64 = (0..images.len())
                    .map(|_| i64::from(images[random.random_range(0..images.len())]))
                    .sum();
                sum as f64 / images.len() as f64
            });
            recalls.sum::<f64>() / differences.len() as f64
        })
        .collect();
    deltas.sort_by(f64::total_cmp);
    Some([quantile(&deltas, 0.025), quantile(&deltas, 0.975)])
}

/// +1 where only the augmented model is right, -1 where only the baseline is.
fn difference(pair: &Paired) -> i8 {
    i8::from(pair.augmented == pair.truth) - i8::from(pair.baseline == pair.truth)
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let index = (share * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(index).copied().unwrap_or(0.0)
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

    #[test]
    fn the_interval_holds_the_difference_and_repeats() {
        let pairs: Vec<_> = (0..200)
            .map(|image| Paired {
                truth: image % 2,
                baseline: if image < 100 {
                    image % 2
                } else {
                    1 - image % 2
                },
                augmented: if image < 140 {
                    image % 2
                } else {
                    1 - image % 2
                },
            })
            .collect();
        let [low, high] = bootstrap_delta(&pairs, 2, 1_000, 7).unwrap();
        assert!(
            low > 0.1 && low < 0.2 && high > 0.2 && high < 0.3,
            "{low} {high}"
        );
        assert_eq!(bootstrap_delta(&pairs, 2, 1_000, 7), Some([low, high]));
    }

    #[test]
    fn equal_models_have_an_interval_of_zero() {
        let pairs = [
            Paired {
                truth: 0,
                baseline: 1,
                augmented: 1,
            },
            Paired {
                truth: 1,
                baseline: 1,
                augmented: 1,
            },
        ];
        assert_eq!(bootstrap_delta(&pairs, 2, 100, 1), Some([0.0, 0.0]));
    }
}
