//! Small dense linear systems, for least squares with a handful of unknowns.

/// Solves `matrix * x = rhs` by Gaussian elimination with partial pivoting. `None` where the matrix is singular.
pub(super) fn solve<const N: usize>(
    mut matrix: [[f64; N]; N],
    mut rhs: [f64; N],
) -> Option<[f64; N]> {
    for column in 0..N {
        let pivot = (column..N).max_by(|i, j| {
            matrix[*i][column]
                .abs()
                .total_cmp(&matrix[*j][column].abs())
        })?;
        if matrix[pivot][column].abs() < 1e-12 {
            return None;
        }
        matrix.swap(column, pivot);
        rhs.swap(column, pivot);
        let above = matrix[column];
        for row in column + 1..N {
            let factor = matrix[row][column] / above[column];
            for (value, above) in matrix[row].iter_mut().zip(above).skip(column) {
                *value -= factor * above;
            }
            rhs[row] -= factor * rhs[column];
        }
    }
    for row in (0..N).rev() {
        let known: f64 = (row + 1..N).map(|k| matrix[row][k] * rhs[k]).sum();
        rhs[row] = (rhs[row] - known) / matrix[row][row];
    }
    rhs.iter().all(|value| value.is_finite()).then_some(rhs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_system_that_needs_pivoting() {
        let solution = solve(
            [[0.0, 2.0, 1.0], [1.0, 1.0, 0.0], [3.0, 0.0, -1.0]],
            [7.0, 3.0, 0.0],
        )
        .unwrap();
        for (value, expected) in solution.iter().zip([1.0, 2.0, 3.0]) {
            assert!((value - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn a_singular_system_has_no_answer() {
        assert!(solve([[1.0, 2.0], [2.0, 4.0]], [1.0, 2.0]).is_none());
    }
}
