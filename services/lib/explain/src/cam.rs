//! Grad-CAM and Grad-CAM++: the channels of a layer, weighted by what they do for a logit.

use tch::{Kind, Tensor};

use crate::{
    error::Result,
    heatmap::Heatmap,
    subject::{Picture, Subject},
};

/// Spatial mean of the gradients (Selvaraju et al. 2017): [C, h, w] to [C].
pub(crate) fn mean_gradient(gradient: &Tensor) -> Result<Tensor> {
    Ok(gradient.f_mean_dim([1i64, 2].as_slice(), false, Kind::Float)?)
}

/// Positive gradients weighted pixel by pixel (Chattopadhyay et al. 2018), with pytorch-grad-cam's constant: [C, h, w] to [C].
pub(crate) fn plus_plus(activations: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let sums = activations.f_sum_dim_intlist([1i64, 2].as_slice(), true, Kind::Float)?;
    let square = gradient.f_square()?;
    let below = square
        .f_mul_scalar(2.0)?
        .f_add(&square.f_mul(gradient)?.f_mul(&sums)?)?
        .f_add_scalar(1e-6)?;
    // Where a gradient is zero, so is its square, and the quotient.
    let alpha = square.f_div(&below)?;
    Ok(gradient.f_relu()?.f_mul(&alpha)?.f_sum_dim_intlist(
        [1i64, 2].as_slice(),
        false,
        Kind::Float,
    )?)
}

/// The map of `class`, 0 to 1, whose channels `plus_plus` or the mean gradient weights.
pub fn class_activation_map(
    subject: &impl Subject,
    picture: &Picture,
    class: i64,
    with_plus_plus: bool,
) -> Result<Heatmap> {
    let [activations, gradient] = subject.activations(picture.pixel_values(), class)?;
    let (activations, gradient) = (activations.f_select(0, 0)?, gradient.f_select(0, 0)?);
    let weights = match with_plus_plus {
        true => plus_plus(&activations, &gradient)?,
        false => mean_gradient(&gradient)?,
    };
    let weighted = activations.f_mul(&weights.f_reshape([-1, 1, 1])?)?;
    let sum = weighted.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Float)?;
    Heatmap::scaled(&sum, picture.size())
}
