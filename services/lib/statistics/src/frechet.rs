//! Frechet distance between two sets of features, as FID defines it (Heusel et al. 2017, <https://arxiv.org/abs/1706.08500>):
//! |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), covariances with n - 1. With other features than Inception's it must not be
//! called FID.
//!
//! The trace of the root is the sum of the singular values of A transpose(B), where A and B are the centred features over
//! sqrt(n - 1): no root of a matrix, and no diagonal to add where a covariance is singular, as clean-fid must.

use crate::{
    features::{FeatureError, Features},
    matrix::{Matrix, dot, nuclear_norm, times_transpose, triangle},
};

/// The squared Frechet distance of two normal distributions with the means and covariances of `a` and `b`.
///
/// # Errors
/// Features of different length.
pub fn distance(a: &Features, b: &Features) -> Result<f64, FeatureError> {
    a.same_dimension(b)?;
    let ((mean_a, a), (mean_b, b)) = (centred(a.rows()), centred(b.rows()));
    let means: f64 = mean_a
        .iter()
        .zip(&mean_b)
        .map(|(a, b)| (a - b).powi(2))
        .sum();
    let trace = |rows: &Matrix| rows.iter().map(|row| dot(row, row)).sum::<f64>();
    let traces = trace(&a) + trace(&b);
    let root = nuclear_norm(times_transpose(&triangle(a), &triangle(b)));
    Ok((means + traces - 2.0 * root).max(0.0))
}

/// Mean, and the rows without it over sqrt(n - 1).
fn centred(rows: &[Vec<f64>]) -> (Vec<f64>, Matrix) {
    let mut mean = vec![0.0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        mean.iter_mut()
            .zip(row)
            .for_each(|(sum, value)| *sum += value / rows.len() as f64);
    }
    let scale = (rows.len() as f64 - 1.0).sqrt();
    let centre = |row: &Vec<f64>| {
        row.iter()
            .zip(&mean)
            .map(|(value, mean)| (value - mean) / scale)
            .collect()
    };
    let centred = rows.iter().map(centre).collect();
    (mean, centred)
}
