//! Pixels as tensors and back, as diffusers' `VaeImageProcessor`.

use crate::error::{ModelError, Result};
use saga_imaging::RgbImage;
use tch::{Kind, Tensor};

/// [1, 3, height, width] from -1 to 1.
pub(super) fn from_image(image: &RgbImage) -> Result<Tensor> {
    let (width, height) = image.dimensions();
    let shape = [1, i64::from(height), i64::from(width), 3];
    let pixels = Tensor::f_from_slice(image.as_raw())?.f_reshape(shape)?;
    Ok(pixels
        .f_permute([0, 3, 1, 2])?
        .f_to_kind(Kind::Float)?
        .f_div_scalar(127.5)?
        .f_sub_scalar(1.0)?)
}

/// The image of [1, 3, height, width]; what lies outside of -1 to 1 is cut off.
pub(super) fn to_image(tensor: &Tensor) -> Result<RgbImage> {
    let (_, _, height, width) = tensor.size4()?;
    let levels = tensor
        .f_to_kind(Kind::Float)?
        .f_div_scalar(2.0)?
        .f_add_scalar(0.5)?
        .f_clamp(0.0, 1.0)?
        .f_mul_scalar(255.0)?
        .f_round()?
        .f_to_kind(Kind::Uint8)?;
    let levels = levels.f_permute([0, 2, 3, 1])?.f_reshape([-1])?;
    let levels = Vec::<u8>::try_from(levels.f_to_device(tch::Device::Cpu)?)?;
    RgbImage::from_raw(width as u32, height as u32, levels)
        .ok_or_else(|| ModelError::Input("an image must have three channels".into()))
}
