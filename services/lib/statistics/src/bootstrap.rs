//! Differences between models on the same images, with intervals that know both sources of chance: which images the test set
//! happens to hold, and which seeds the models happen to be trained with.
//!
//! Paired: a resample draws images and seeds, and judges both sides on them. Stratified: images are drawn within each class, so
//! that a class of few images never drops out. Clustered: images of one subject resemble each other and say less than as many of
//! different ones, so that subjects are drawn first and then images of each (two stages with replacement, Davison and Hinkley 1997,
//! section 3.8: rather too wide than too narrow). Intervals are percentiles (2.5 %, 97.5 %), interpolated as numpy's `quantile`
//! does. Seeds are few, so that the part of the interval that they add is rough; with one seed it is missing.
//!
//! Several splits of one data set are judged together: each has trainings of its own, which are drawn apart, and a subject that several
//! test sets show is one subject. What it leaves out is that the train sets of splits overlap, so that their trainings resemble each
//! other; no unbiased estimate of that part is known (Bengio and Grandvalet 2004), and the interval may be somewhat too narrow.

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Recall over fewer subjects is the luck of a few people: one of two is right or wrong, and a mean of classes moves by half a
/// class's share.
pub const FEWEST_SUBJECTS: usize = 10;

/// What is resampled, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Design<'a> {
    /// Class of each image.
    pub truth: &'a [usize],
    /// Subject of each image, by any number.
    pub subjects: &'a [usize],
    /// Split whose models judged each image, numbered from 0; empty where there is one.
    pub splits: &'a [usize],
    /// Number of classes.
    pub classes: usize,
    /// Resamples.
    pub resamples: u32,
    /// The same seed draws the same resamples.
    pub seed: u64,
}

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// On the images and seeds as they are.
    pub value: f64,
    /// 95 % interval.
    pub interval: [f64; 2],
    /// Two-sided bootstrap p-value of "it is 0": twice the smaller share of resamples at or beyond 0.
    pub p_value: f64,
}

impl Estimate {
    /// Whether the whole interval lies above 0.
    pub fn is_gain(&self) -> bool {
        self.interval[0] > 0.0
    }

    /// Whether the whole interval lies below 0.
    pub fn is_loss(&self) -> bool {
        self.interval[1] < 0.0
    }
}

/// Shares of right answers, or their differences. `recall` is `None` for a class without images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimates {
    /// Over all images.
    pub accuracy: Estimate,
    /// Mean of the classes' recalls.
    pub balanced_accuracy: Estimate,
    /// Mean of the recalls of those classes that show at least [`FEWEST_SUBJECTS`]; `None` without such classes.
    pub well_sampled: Option<Estimate>,
    /// By class.
    pub recall: Vec<Option<Estimate>>,
}

/// Which answers of a model were right, for each seed: `[seed][image]`.
pub type Right = [Vec<bool>];

impl Design<'_> {
    /// One side's own shares; their `p_value` says nothing of use. `None` without images or seeds.
    pub fn shares(&self, right: &Right) -> Option<Estimates> {
        let scores = right
            .iter()
            .map(|seed| seed.iter().map(|&right| f64::from(right)).collect());
        self.estimate(&scores.collect::<Vec<_>>())
    }

    /// `arm` minus `reference`, seed by seed and image by image. `None` without images, or where the two do not have the same
    /// seeds and images.
    pub fn differences(&self, reference: &Right, arm: &Right) -> Option<Estimates> {
        let paired = reference.len() == arm.len();
        let scores = reference.iter().zip(arm).map(|(reference, arm)| {
            let pairs = reference.iter().zip(arm);
            pairs
                .map(|(&before, &after)| f64::from(after) - f64::from(before))
                .collect()
        });
        paired
            .then(|| self.estimate(&scores.collect::<Vec<_>>()))
            .flatten()
    }

    fn estimate(&self, scores: &[Vec<f64>]) -> Option<Estimates> {
        let images = self.truth.len();
        let fits = self.subjects.len() == images
            && (self.splits.is_empty() || self.splits.len() == images)
            && scores.iter().all(|seed| seed.len() == images);
        if !fits || scores.is_empty() || self.truth.is_empty() || self.resamples == 0 {
            return None;
        }
        let strata: Vec<Stratum> = (0..self.classes).map(|class| self.stratum(class)).collect();
        let sizes: Vec<Size> = strata.iter().map(Stratum::size).collect();
        let splits = self.splits.iter().max().map_or(1, |last| last + 1);
        let once = Draw::everything(&strata, [splits, scores.len()]).means(scores, self.splits);
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut resampled = vec![Vec::with_capacity(self.resamples as usize); self.classes + 3];
        for _ in 0..self.resamples {
            let draw = Draw::random(&strata, [splits, scores.len()], &mut random);
            let figures = figures(&draw.means(scores, self.splits), &sizes);
            for (all, figure) in resampled.iter_mut().zip(figures) {
                all.extend(figure);
            }
        }
        let mut estimates = figures(&once, &sizes)
            .into_iter()
            .zip(resampled)
            .map(|(value, resampled)| value.map(|value| estimate(value, resampled)));
        Some(Estimates {
            accuracy: estimates.next().flatten()?,
            balanced_accuracy: estimates.next().flatten()?,
            well_sampled: estimates.next().flatten(),
            recall: estimates.collect(),
        })
    }

    /// Whether each class shows at least [`FEWEST_SUBJECTS`].
    pub fn well_sampled(&self) -> Vec<bool> {
        (0..self.classes)
            .map(|class| self.stratum(class).size().is_well_sampled)
            .collect()
    }

    fn stratum(&self, class: usize) -> Stratum {
        let mut subjects = BTreeMap::<usize, Vec<usize>>::new();
        for (image, (&truth, &subject)) in self.truth.iter().zip(self.subjects).enumerate() {
            if truth == class {
                subjects.entry(subject).or_default().push(image);
            }
        }
        Stratum(subjects.into_values().collect())
    }
}

/// The images of one class, by subject.
struct Stratum(Vec<Vec<usize>>);

/// What a figure over several classes needs to know of each.
#[derive(Clone, Copy)]
struct Size {
    images: usize,
    is_well_sampled: bool,
}

impl Stratum {
    fn size(&self) -> Size {
        Size {
            images: self.0.iter().map(Vec::len).sum(),
            is_well_sampled: self.0.len() >= FEWEST_SUBJECTS,
        }
    }

    /// As many subjects as there are, and of each as many images as it has.
    fn draw(&self, random: &mut ChaCha8Rng) -> Vec<usize> {
        let mut drawn = Vec::new();
        for _ in &self.0 {
            match self.0[random.random_range(0..self.0.len())].as_slice() {
                &[only] => drawn.push(only),
                subject => drawn.extend(
                    subject
                        .iter()
                        .map(|_| subject[random.random_range(0..subject.len())]),
                ),
            }
        }
        drawn
    }
}

/// One resample: how often each seed of each split, and which images of each class.
struct Draw {
    seeds: Vec<Vec<f64>>,
    images: Vec<Vec<usize>>,
}

impl Draw {
    fn everything(strata: &[Stratum], [splits, seeds]: [usize; 2]) -> Self {
        Self {
            seeds: vec![vec![1.0; seeds]; splits],
            images: strata.iter().map(|stratum| stratum.0.concat()).collect(),
        }
    }

    fn random(strata: &[Stratum], [splits, seeds]: [usize; 2], random: &mut ChaCha8Rng) -> Self {
        let mut counts = vec![vec![0.0; seeds]; splits];
        for counts in &mut counts {
            (0..seeds).for_each(|_| counts[random.random_range(0..seeds)] += 1.0);
        }
        Self {
            seeds: counts,
            images: strata.iter().map(|stratum| stratum.draw(random)).collect(),
        }
    }

    /// Mean score of each class.
    fn means(&self, scores: &[Vec<f64>], splits: &[usize]) -> Vec<Option<f64>> {
        let of_image = |&image: &usize| {
            let counts = &self.seeds[splits.get(image).copied().unwrap_or(0)];
            let seeds = counts.iter().zip(scores);
            seeds.map(|(count, seed)| count * seed[image]).sum::<f64>()
        };
        let mean = |drawn: &Vec<usize>| {
            let weight = (drawn.len() * scores.len()) as f64;
            (!drawn.is_empty()).then(|| drawn.iter().map(of_image).sum::<f64>() / weight)
        };
        self.images.iter().map(mean).collect()
    }
}

/// Accuracy, balanced accuracy, that of the well sampled classes, and the recalls, from the means of the classes and their sizes.
fn figures(means: &[Option<f64>], sizes: &[Size]) -> Vec<Option<f64>> {
    let present = || {
        means
            .iter()
            .zip(sizes)
            .filter_map(|(mean, &size)| Some(((*mean)?, size)))
    };
    let images: usize = present().map(|(_, size)| size.images).sum();
    let accuracy = present()
        .map(|(mean, size)| mean * size.images as f64)
        .sum::<f64>()
        / images as f64;
    let well_sampled = present().filter(|(_, size)| size.is_well_sampled);
    let mut figures = vec![
        Some(accuracy),
        mean(present().map(|(mean, _)| mean)),
        mean(well_sampled.map(|(mean, _)| mean)),
    ];
    figures.extend_from_slice(means);
    figures
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn estimate(value: f64, mut resampled: Vec<f64>) -> Estimate {
    resampled.sort_by(f64::total_cmp);
    let beyond = |count: usize| (count + 1) as f64 / (resampled.len() + 1) as f64;
    let below = beyond(resampled.iter().filter(|&&figure| figure <= 0.0).count());
    let above = beyond(resampled.iter().filter(|&&figure| figure >= 0.0).count());
    Estimate {
        value,
        interval: [quantile(&resampled, 0.025), quantile(&resampled, 0.975)],
        p_value: (2.0 * below.min(above)).min(1.0),
    }
}

/// Linear interpolation between the order statistics.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * sorted.len().saturating_sub(1) as f64;
    let value = |index: f64| sorted.get(index as usize).copied().unwrap_or(0.0);
    let (below, above) = (value(at.floor()), value(at.ceil()));
    below + (above - below) * at.fract()
}
