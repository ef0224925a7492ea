//! Logits to probabilities.

/// Softmax: shares of one in proportion to e to the power of each logit, in order.
pub fn softmax(logits: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let most = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.map(|logit| (logit - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sums_to_one_and_does_not_overflow() {
        assert_eq!(softmax([1e9, 0.0, -1e9].into_iter()), [1.0, 0.0, 0.0]);
        let shares = softmax([0.1, 0.1 + 2.0_f64.ln()].into_iter());
        assert!(
            (shares[1] - 2.0 / 3.0).abs() < 1e-12 && (shares[0] + shares[1] - 1.0).abs() < 1e-12
        );
    }
}
