//! Distances between sets of features against clean-fid's formulas.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use saga_statistics::{FeatureError, Features, frechet, kernel};
use serde_json::Value;

fn rows(of: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(of.clone()).unwrap()
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("fixtures/distances.json")).unwrap()
}

/// The reference takes the root of a product of matrices, which costs it half of its digits where they are singular.
#[test]
fn frechet_equals_the_reference() {
    for (case, tolerance) in [("tall", 1e-9), ("wide", 1e-5)] {
        let fixture = &fixture()[case];
        let [a, b] = ["a", "b"].map(|side| Features::new(rows(&fixture[side])).unwrap());
        let (found, expected) = (
            frechet::distance(&a, &b).unwrap(),
            fixture["frechet"].as_f64().unwrap(),
        );
        assert!(
            (found - expected).abs() < tolerance * expected,
            "{case}: {found} {expected}"
        );
        assert!(frechet::distance(&a, &a).unwrap() < 1e-9);
    }
}

#[test]
fn kernel_equals_the_reference() {
    for case in ["tall", "wide"] {
        let fixture = &fixture()[case];
        let [mut a, mut b] = ["a", "b"].map(|side| rows(&fixture[side]));
        let size = a.len().min(b.len());
        a.truncate(size);
        b.truncate(size);
        let [a, b] = [a, b].map(|side| Features::new(side).unwrap());
        let (found, expected) = (
            kernel::distance(&a, &b, 1).unwrap(),
            fixture["kernel"].as_f64().unwrap(),
        );
        assert!(
            (found.mean - expected).abs() < 1e-9,
            "{case}: {found:?} {expected}"
        );
        // Every subset is all of both sides.
        assert!(found.deviation < 1e-9);
    }
}

#[test]
fn subsets_of_the_larger_side_vary_and_repeat_by_seed() {
    let fixture = &fixture()["tall"];
    let [a, b] = ["a", "b"].map(|side| Features::new(rows(&fixture[side])).unwrap());
    let first = kernel::distance(&a, &b, 1).unwrap();
    assert!(first.deviation > 0.0);
    assert_eq!(kernel::distance(&a, &b, 1).unwrap(), first);
    assert_ne!(kernel::distance(&a, &b, 2).unwrap(), first);
}

#[test]
fn unusable_features_are_named() {
    assert_eq!(
        Features::new(vec![vec![1.0]]),
        Err(FeatureError::TooFew { found: 1 })
    );
    let ragged = Features::new(vec![vec![1.0], vec![1.0, 2.0]]);
    assert_eq!(
        ragged,
        Err(FeatureError::Dimension {
            expected: 1,
            found: 2
        })
    );
    let infinite = Features::new(vec![vec![1.0], vec![f64::INFINITY]]);
    assert_eq!(infinite, Err(FeatureError::NotFinite));
    let [thin, wide] = [1, 2].map(|width| Features::new(vec![vec![1.0; width]; 3]).unwrap());
    assert!(frechet::distance(&thin, &wide).is_err() && kernel::distance(&thin, &wide, 1).is_err());
}
