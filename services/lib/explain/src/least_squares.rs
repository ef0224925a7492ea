//! Weighted least squares.

use tch::{Kind, Tensor};

use crate::error::Result;

/// The `b` [columns] that makes the sum of `weights (y - x b)^2` plus `ridge |b|^2` smallest, for `x` [rows, columns], in f64.
///
/// # Errors
/// Where the rows do not determine it.
pub(crate) fn least_squares(
    x: &Tensor,
    y: &Tensor,
    weights: &Tensor,
    ridge: f64,
) -> Result<Tensor> {
    let columns = x.size2()?.1;
    let weighted = x.f_mul(&weights.f_unsqueeze(1)?)?.f_transpose(0, 1)?;
    let penalty = Tensor::f_eye(columns, (Kind::Double, x.device()))?.f_mul_scalar(ridge)?;
    let left = weighted.f_matmul(x)?.f_add(&penalty)?;
    Ok(Tensor::f_linalg_solve(&left, &weighted.f_matmul(y)?, true)?)
}
