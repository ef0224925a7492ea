//! The two factorisations that distances need: the triangle of QR, and singular values.

/// A matrix by rows.
pub(crate) type Matrix = Vec<Vec<f64>>;

/// Sweeps of rotations; a handful suffices.
const SWEEPS: usize = 60;
/// Cosine below which two rows count as orthogonal.
const ORTHOGONAL: f64 = 1e-14;

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `a` times the transpose of `b`.
pub(crate) fn times_transpose(a: &[Vec<f64>], b: &[Vec<f64>]) -> Matrix {
    let row = |a: &Vec<f64>| b.iter().map(|b| dot(a, b)).collect();
    a.iter().map(row).collect()
}

/// A matrix of at most as many rows as columns with the same product transpose(M) M: the triangle R of QR by Householder's
/// reflections, or `rows` itself where it is small already.
pub(crate) fn triangle(rows: Matrix) -> Matrix {
    let width = rows.first().map_or(0, Vec::len);
    if rows.len() <= width {
        return rows;
    }
    let mut matrix = rows;
    for column in 0..width {
        let below: Vec<f64> = matrix[column..].iter().map(|row| row[column]).collect();
        let norm = dot(&below, &below).sqrt();
        let mut mirror = below;
        mirror[0] += norm.copysign(mirror[0]);
        let length = dot(&mirror, &mirror);
        if length == 0.0 {
            continue;
        }
        // Row by row, so that memory is read in its order.
        let mut projection = vec![0.0; width];
        for (share, row) in mirror.iter().zip(&matrix[column..]) {
            projection
                .iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += share * value);
        }
        for (share, row) in mirror.iter().zip(&mut matrix[column..]) {
            let factor = 2.0 * share / length;
            row.iter_mut()
                .zip(&projection)
                .for_each(|(value, sum)| *value -= factor * sum);
        }
    }
    matrix.truncate(width);
    matrix
}

/// Sum of the singular values (nuclear norm), by one-sided Jacobi rotations of the rows (Hestenes 1958), which are accurate
/// for small singular values, too.
pub(crate) fn nuclear_norm(mut rows: Matrix) -> f64 {
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for second in 1..rows.len() {
            let (head, tail) = rows.split_at_mut(second);
            for first in head {
                rotated |= orthogonalise(first, &mut tail[0]);
            }
        }
        if !rotated {
            break;
        }
    }
    rows.iter().map(|row| dot(row, row).sqrt()).sum()
}

/// Rotates two rows in their plane until they are orthogonal; false where they are already.
fn orthogonalise(a: &mut [f64], b: &mut [f64]) -> bool {
    let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
    if ab.abs() <= ORTHOGONAL * (aa * bb).sqrt() {
        return false;
    }
    let slope = (bb - aa) / (2.0 * ab);
    let tangent = 1.0f64.copysign(slope) / (slope.abs() + slope.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = cosine * tangent;
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn singular_values_of_a_known_matrix() {
        // Singular values sqrt(45) and sqrt(5).
        let norm = nuclear_norm(vec![vec![3.0, 0.0], vec![4.0, 5.0]]);
        assert!((norm - (45f64.sqrt() + 5f64.sqrt())).abs() < 1e-12);
        assert_eq!(nuclear_norm(vec![vec![0.0; 3]; 2]), 0.0);
    }

    proptest! {
        #[test]
        fn the_triangle_keeps_the_product(rows in prop::collection::vec(prop::collection::vec(-9.0f64..9.0, 3), 1..9)) {
            let product = |rows: &[Vec<f64>]| {
                let entry = |i: usize, j: usize| rows.iter().map(|row| row[i] * row[j]).sum::<f64>();
                (0..9).map(|k| entry(k / 3, k % 3)).collect::<Vec<_>>()
            };
            let small = triangle(rows.clone());
            prop_assert_eq!(small.len(), rows.len().min(3));
            for (kept, was) in product(&small).iter().zip(product(&rows)) {
                prop_assert!((kept - was).abs() < 1e-9, "{kept} {was}");
            }
        }

        #[test]
        fn rows_and_columns_have_the_same_singular_values(rows in prop::collection::vec(prop::collection::vec(-9.0f64..9.0, 4), 1..7)) {
            let transposed: Matrix = (0..4).map(|j| rows.iter().map(|row| row[j]).collect()).collect();
            let (a, b) = (nuclear_norm(rows), nuclear_norm(transposed));
            prop_assert!((a - b).abs() < 1e-9 * (1.0 + a), "{a} {b}");
        }
    }
}
