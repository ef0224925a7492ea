//! The paired bootstrap against numpy, and what must hold of any.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use saga_statistics::bootstrap::{Design, Estimates};
use serde_json::Value;

/// Two Monte Carlo estimates of the same percentiles: 3 standard errors of 40,000 and 20,000 resamples on figures whose steps
/// are as coarse as 1 of 4 x 12 answers.
const TOLERANCE: f64 = 0.011;

fn numbers(of: &Value) -> Vec<f64> {
    of.as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

fn right(of: &Value) -> Vec<Vec<bool>> {
    let seeds = of.as_array().unwrap().iter();
    seeds
        .map(|seed| numbers(seed).iter().map(|&x| x > 0.0).collect())
        .collect()
}

fn flat(estimates: &Estimates) -> Vec<saga_statistics::bootstrap::Estimate> {
    let mut all = vec![estimates.accuracy, estimates.balanced_accuracy];
    all.extend(estimates.recall.iter().flatten());
    all
}

#[test]
fn equals_numpy_to_the_error_of_resampling() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/bootstrap.json")).unwrap();
    let truth: Vec<usize> = numbers(&fixture["truth"])
        .iter()
        .map(|&x| x as usize)
        .collect();
    let design = Design {
        truth: &truth,
        subjects: &alone(truth.len()),
        splits: &[],
        classes: 3,
        resamples: 20_000,
        seed: 5,
    };
    let found = design
        .differences(&right(&fixture["reference"]), &right(&fixture["arm"]))
        .unwrap();
    let (value, low, high) = (
        numbers(&fixture["value"]),
        numbers(&fixture["low"]),
        numbers(&fixture["high"]),
    );
    for (i, estimate) in flat(&found).into_iter().enumerate() {
        assert!(
            (estimate.value - value[i]).abs() < 1e-12,
            "{i}: {estimate:?}"
        );
        assert!(
            (estimate.interval[0] - low[i]).abs() < TOLERANCE,
            "{i}: {estimate:?} {}",
            low[i]
        );
        assert!(
            (estimate.interval[1] - high[i]).abs() < TOLERANCE,
            "{i}: {estimate:?} {}",
            high[i]
        );
    }
}

/// Every image shows somebody else.
fn alone(images: usize) -> Vec<usize> {
    (0..images).collect()
}

/// Class and subject of each image, and two models' answers.
type Answers = (Vec<(usize, usize)>, Vec<Vec<bool>>, Vec<Vec<bool>>);

fn answers() -> impl Strategy<Value = Answers> {
    (1usize..40, 1usize..4).prop_flat_map(|(images, seeds)| {
        let right = prop::collection::vec(prop::collection::vec(any::<bool>(), images), seeds);
        (
            prop::collection::vec((0usize..3, 0usize..5), images),
            right.clone(),
            right,
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_other_way_round_changes_the_sign_alone((images, a, b) in answers(), seed: u64) {
        let (truth, subjects): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        let design = Design { truth: &truth, subjects: &subjects, splits: &[], classes: 3, resamples: 50, seed };
        let forth = flat(&design.differences(&a, &b).unwrap());
        let back = flat(&design.differences(&b, &a).unwrap());
        for (forth, back) in forth.iter().zip(&back) {
            prop_assert!((forth.value + back.value).abs() < 1e-12);
            prop_assert!((forth.interval[0] + back.interval[1]).abs() < 1e-9);
            prop_assert!((forth.p_value - back.p_value).abs() < 1e-12);
        }
    }

    #[test]
    fn equal_models_do_not_differ((images, a, _) in answers(), seed: u64) {
        let (truth, subjects): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        let design = Design { truth: &truth, subjects: &subjects, splits: &[], classes: 3, resamples: 20, seed };
        for estimate in flat(&design.differences(&a, &a).unwrap()) {
            prop_assert_eq!((estimate.value, estimate.interval, estimate.p_value), (0.0, [0.0, 0.0], 1.0));
        }
    }

    #[test]
    fn shares_are_shares_and_a_difference_is_that_of_the_shares((images, a, b) in answers(), seed: u64) {
        let (truth, subjects): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        let design = Design { truth: &truth, subjects: &subjects, splits: &[], classes: 3, resamples: 20, seed };
        let (of_a, of_b) = (flat(&design.shares(&a).unwrap()), flat(&design.shares(&b).unwrap()));
        let differences = flat(&design.differences(&a, &b).unwrap());
        for ((a, b), difference) in of_a.iter().zip(&of_b).zip(&differences) {
            prop_assert!((0.0..=1.0).contains(&a.interval[0]) && (0.0..=1.0).contains(&a.interval[1]));
            prop_assert!((b.value - a.value - difference.value).abs() < 1e-12);
        }
    }
}

#[test]
fn a_class_without_images_has_no_recall_and_unpaired_answers_are_refused() {
    let design = Design {
        truth: &[0, 0, 2],
        subjects: &[0, 0, 1],
        splits: &[],
        classes: 3,
        resamples: 10,
        seed: 1,
    };
    let right = [vec![true, false, true]];
    let shares = design.shares(&right).unwrap();
    assert!(shares.recall[1].is_none());
    assert_eq!(shares.balanced_accuracy.value, 0.75);
    assert!(design.differences(&right, &[]).is_none());
    assert!(design.shares(&[vec![true]]).is_none());
}

#[test]
fn images_of_one_subject_count_as_the_one_that_they_repeat() {
    // Twelve subjects of five images each, on all of which a model is alike right or wrong.
    let subjects: Vec<usize> = (0..60).map(|image| image / 5).collect();
    let right = [subjects.iter().map(|subject| subject % 3 > 0).collect()];
    let width = |truth: &[usize], subjects: &[usize], right: &[Vec<bool>]| {
        let design = Design {
            truth,
            subjects,
            splits: &[],
            classes: 1,
            resamples: 20_000,
            seed: 3,
        };
        let [low, high] = design.shares(right).unwrap().accuracy.interval;
        high - low
    };
    let once = [(0..12).map(|subject| subject % 3 > 0).collect()];
    let clustered = width(&[0; 60], &subjects, &right);
    assert!((clustered - width(&[0; 12], &alone(12), &once)).abs() < 0.01);
    let independent = width(&[0; 60], &alone(60), &right);
    assert!(clustered > 2.0 * independent, "{clustered} {independent}");
}

#[test]
fn classes_of_few_subjects_are_left_out_of_the_well_sampled_ones() {
    // Ten subjects of class 0, four of them right; nine of class 1, of twenty images, all wrong; one of class 2.
    let truth: Vec<usize> = [vec![0; 10], vec![1; 20], vec![2]].concat();
    let subjects: Vec<usize> = (0..31)
        .map(|image| if image < 10 { image } else { 10 + image % 9 })
        .collect();
    let design = Design {
        truth: &truth,
        subjects: &subjects,
        splits: &[],
        classes: 4,
        resamples: 50,
        seed: 2,
    };
    assert_eq!(design.well_sampled(), [true, false, false, false]);
    let right: Vec<bool> = (0..31).map(|image| image < 4).collect();
    let shares = design.shares(&[right]).unwrap();
    let well_sampled = shares.well_sampled.unwrap();
    assert_eq!(well_sampled.value, 0.4);
    assert_eq!(well_sampled.interval, shares.recall[0].unwrap().interval);
    assert!((shares.balanced_accuracy.value - 0.4 / 3.0).abs() < 1e-12);
    let few = Design {
        truth: &truth[10..],
        subjects: &subjects[10..],
        ..design
    };
    assert!(
        few.shares(&[vec![true; 21]])
            .unwrap()
            .well_sampled
            .is_none()
    );
}

#[test]
fn trainings_of_different_splits_are_drawn_apart_and_one_split_is_none() {
    // Every image of a split is right with the first seed and wrong with the second: all of the chance lies in the seeds.
    let images = 400;
    let right = [vec![true; images], vec![false; images]];
    let (truth, subjects) = (vec![0; images], alone(images));
    let width = |splits: &[usize]| {
        let design = Design {
            truth: &truth,
            subjects: &subjects,
            splits,
            classes: 1,
            resamples: 4_000,
            seed: 11,
        };
        let accuracy = design.shares(&right)?.accuracy;
        Some((accuracy.value, accuracy.interval[1] - accuracy.interval[0]))
    };
    // Two seeds drawn twice: nothing, half or all of it right.
    assert_eq!(width(&[]), Some((0.5, 1.0)));
    assert_eq!(width(&vec![0; images]), width(&[]));
    // Sixteen splits of two seeds: 32 draws, a standard error of 0.5 / sqrt(32).
    let sixteen: Vec<usize> = (0..images).map(|image| image % 16).collect();
    let (value, width_of_sixteen) = width(&sixteen).unwrap();
    assert_eq!(value, 0.5);
    assert!(
        (width_of_sixteen - 2.0 * 1.96 * 0.5 / 32f64.sqrt()).abs() < 0.04,
        "{width_of_sixteen}"
    );
    assert!(width(&sixteen[1..]).is_none());
}
