//! What CLIP is trained by.

use crate::error::Result;
use tch::{Kind, Reduction, Tensor};

/// CLIP's symmetric cross-entropy over paired, L2-normalised embeddings [N, D].
///
/// `caption_ids` [N] names each caption: pairs that share one are all right answers, their probability spread
/// evenly. With distinct ids this is the loss of the paper.
pub fn contrastive_loss(
    images: &Tensor,
    texts: &Tensor,
    log_scale: &Tensor,
    caption_ids: &[i64],
) -> Result<Tensor> {
    let logits = images
        .f_matmul(&texts.f_transpose(0, 1)?)?
        .f_mul(&log_scale.f_exp()?)?;
    let ids = Tensor::f_from_slice(caption_ids)?.f_to_device(images.device())?;
    let same = ids
        .f_unsqueeze(0)?
        .f_eq_tensor(&ids.f_unsqueeze(1)?)?
        .f_to_kind(Kind::Float)?;
    let targets = same.f_div(&same.f_sum_dim_intlist(-1, true, Kind::Float)?)?;
    let entropy = |logits: &Tensor| {
        logits.f_cross_entropy_loss::<Tensor>(&targets, None, Reduction::Mean, -100, 0.0)
    };
    Ok(entropy(&logits)?
        .f_add(&entropy(&logits.f_transpose(0, 1)?)?)?
        .f_div_scalar(2.0)?)
}
