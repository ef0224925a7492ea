//! Holm's step-down correction (Holm 1979) for several tests at once.

/// Adjusted p-values in the order given: rejecting where they are at most alpha keeps the chance of any false rejection at
/// alpha, however the tests depend on each other.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0f64;
    for (rank, &index) in order.iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        largest = largest.max((p_values[index] * factor).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Holm defines it: 4 x .005, 3 x .01, 2 x .03, and no less than the one before.
    #[test]
    fn the_smallest_counts_most() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-12, "{adjusted:?}");
        }
    }

    proptest! {
        #[test]
        fn never_lies_below_the_raw_value_nor_above_one_and_keeps_the_order(
            p in prop::collection::vec(0.0f64..=1.0, 1..12),
        ) {
            let adjusted = holm(&p);
            for (i, &raw) in p.iter().enumerate() {
                prop_assert!((raw..=1.0).contains(&adjusted[i]));
                for (j, &other) in p.iter().enumerate() {
                    prop_assert!(raw > other || adjusted[i] <= adjusted[j]);
                }
            }
        }
    }
}
