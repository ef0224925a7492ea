//! Attention rollout (Abnar and Zuidema 2020): how much of each patch reaches the CLS token through all blocks.

use tch::{Kind, Tensor};

use crate::{
    error::{ExplainError, Result},
    heatmap::Heatmap,
    subject::{Picture, Subject},
};

/// Attention of every block [1, heads, tokens, tokens] to the share of each patch in the CLS token, [tokens - 1]: heads are
/// averaged, the residual path counts as much as attention, rows sum to one.
///
/// # Errors
/// [`ExplainError::NoAttention`] of no block.
pub fn rollout(maps: &[Tensor]) -> Result<Tensor> {
    let mut flow: Option<Tensor> = None;
    for map in maps {
        let mean = map
            .f_select(0, 0)?
            .f_mean_dim([0i64].as_slice(), false, Kind::Double)?;
        let tokens = mean.size2()?.0;
        let mixed = mean.f_add(&Tensor::f_eye(tokens, (Kind::Double, mean.device()))?)?;
        let rows = mixed.f_sum_dim_intlist([-1i64].as_slice(), true, Kind::Double)?;
        let block = mixed.f_div(&rows)?;
        flow = Some(match flow {
            Some(before) => block.f_matmul(&before)?,
            None => block,
        });
    }
    let flow = flow.ok_or(ExplainError::NoAttention)?;
    let patches = flow.size2()?.0 - 1;
    Ok(flow.f_select(0, 0)?.f_narrow(0, 1, patches)?)
}

/// The rollout of a picture, stretched to 0..1; the same for every class.
pub(crate) fn attention_rollout(subject: &impl Subject, picture: &Picture) -> Result<Heatmap> {
    let shares = rollout(&subject.attention_maps(picture.pixel_values())?)?;
    let patches = shares.numel();
    let side = patches.isqrt();
    if side * side != patches {
        return Err(ExplainError::Shape {
            what: "attention",
            found: vec![patches as i64],
            wanted: vec![(side * side) as i64],
        });
    }
    let grid = shares
        .f_reshape([side as i64, side as i64])?
        .f_to_kind(Kind::Float)?;
    Heatmap::scaled(&grid, picture.size())
}
