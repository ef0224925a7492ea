//! Images as tensors of the Open Inference Protocol: pixel values, or encoded files.

use prost::bytes::Bytes;
use saga_chassis::status::invalid_argument;
use saga_gate::{EncodedImage, check_image};
use saga_proto::r#type::v1::Image;
use tonic::Status;

use super::{elements::Datatype, tensor::TensorSpec};

impl TensorSpec {
    /// Images, as pixel values or as encoded files.
    #[must_use]
    pub fn images(height: u32, width: u32) -> Vec<Self> {
        let pixel_values = Self {
            name: "pixel_values",
            datatype: Datatype::Fp32,
            shape: vec![-1, 3, height.into(), width.into()],
        };
        let image = Self {
            name: "image",
            datatype: Datatype::Bytes,
            shape: vec![-1],
        };
        vec![pixel_values, image]
    }
}

/// The rows of a tensor of images `[N, 3, H, W]`.
///
/// # Errors
/// INVALID_ARGUMENT for a value that is not finite.
pub fn pixel_rows(pixels: &[f32], shape: &[i64]) -> Result<Vec<Vec<f32>>, Status> {
    if let Some(at) = pixels.iter().position(|value| !value.is_finite()) {
        let why = format!("element {at} is not finite; send numbers only");
        return Err(invalid_argument("inputs[0].contents", why));
    }
    let rows = shape.first().map_or(1, |&rows| rows.max(1) as usize);
    let width = (pixels.len() / rows).max(1);
    Ok(pixels.chunks_exact(width).map(<[f32]>::to_vec).collect())
}

/// Encoded images, each with the name of its field.
///
/// # Errors
/// As [`check_image`].
pub fn encoded_images(
    files: Vec<Bytes>,
    max_bytes: usize,
) -> Result<Vec<(String, EncodedImage)>, Status> {
    let checked = |(index, data): (usize, Bytes)| {
        let field = format!("inputs[0].contents[{index}]");
        let image = Image {
            data,
            blake3: String::new(),
        };
        let image = check_image(&field, Some(image), max_bytes)?;
        Ok((field, image))
    };
    files.into_iter().enumerate().map(checked).collect()
}
