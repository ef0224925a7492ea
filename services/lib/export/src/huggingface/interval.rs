//! Intervals of shares.

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The 95 % interval of Wilson (1927) for `right` of `of` independent images; none where there is no image.
pub(super) fn wilson(right: f64, of: f64) -> Option<[f64; 2]> {
    if of <= 0.0 {
        return None;
    }
    let (share, square) = (right / of, Z * Z);
    let middle = share + square / (2.0 * of);
    let half = Z
        * (share * (1.0 - share) / of + square / (4.0 * of * of))
            .max(0.0)
            .sqrt();
    let scale = 1.0 + square / of;
    Some([(middle - half) / scale, (middle + half) / scale].map(|bound| bound.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of scipy's `binomtest(k, n).proportion_ci(method="wilson")`.
    #[test]
    fn equals_scipy() {
        for (right, of, expected) in [
            (45.0, 50.0, [0.786_397_7, 0.956_524_2]),
            (0.0, 10.0, [0.0, 0.277_532_8]),
            (10.0, 10.0, [0.722_467_2, 1.0]),
        ] {
            let found = wilson(right, of).unwrap();
            let near = found
                .iter()
                .zip(expected)
                .all(|(found, expected)| (found - expected).abs() < 1e-6);
            assert!(near, "{right} of {of}: {found:?}");
        }
        assert_eq!(wilson(0.0, 0.0), None);
    }
}
