//! The bytes of a tensor, as files hold them.

use crate::error::Result;
use saga_models::tch::{Device, Tensor};

/// Contiguous, row-major, little-endian.
pub(crate) fn of(tensor: &Tensor) -> Result<Vec<u8>> {
    let tensor = tensor.f_to_device(Device::Cpu)?.f_contiguous()?;
    let mut bytes = vec![0; tensor.numel() * tensor.f_kind()?.elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}
