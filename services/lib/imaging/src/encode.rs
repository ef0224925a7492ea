//! Pictures to JPEG bytes, and the identity of bytes.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, GrayImage, RgbImage};

/// The picture does not fit into a JPEG file: a side is 0 or longer than 65,535 pixels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{width}x{height} pixels cannot be a JPEG file, whose sides are 1 to 65,535")]
pub struct EncodeError {
    /// Width of the picture.
    pub width: u32,
    /// Height of the picture.
    pub height: u32,
}

/// Baseline JPEG in colour; `quality` is 1 to 100.
///
/// # Errors
/// [`EncodeError`] where a side is 0 or longer than JPEG allows.
pub fn encode_jpeg(picture: &RgbImage, quality: u8) -> Result<Vec<u8>, EncodeError> {
    encode(
        picture,
        picture.dimensions(),
        ExtendedColorType::Rgb8,
        quality,
    )
}

/// Baseline JPEG with one channel; `quality` is 1 to 100.
///
/// # Errors
/// [`EncodeError`] where a side is 0 or longer than JPEG allows.
pub fn encode_jpeg_grey(picture: &GrayImage, quality: u8) -> Result<Vec<u8>, EncodeError> {
    encode(
        picture,
        picture.dimensions(),
        ExtendedColorType::L8,
        quality,
    )
}

fn encode(
    pixels: &[u8],
    size: (u32, u32),
    colour: ExtendedColorType,
    quality: u8,
) -> Result<Vec<u8>, EncodeError> {
    let (width, height) = size;
    let error = EncodeError { width, height };
    if width == 0 || height == 0 {
        return Err(error);
    }
    let mut file = Vec::new();
    match JpegEncoder::new_with_quality(&mut file, quality.clamp(1, 100))
        .encode(pixels, width, height, colour)
    {
        Ok(()) => Ok(file),
        Err(_) => Err(error),
    }
}

/// BLAKE3 of `bytes` as 64 lower-case hexadecimal digits: the identity of an image on the wire and in the store.
#[must_use]
pub fn blake3_hex(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecodeLimits, decode};

    #[test]
    fn encoded_pictures_decode_to_nearly_themselves() {
        let picture = RgbImage::from_fn(40, 24, |x, y| {
            image::Rgb([(x * 5) as u8, (y * 9) as u8, 90])
        });
        let back = decode(
            &encode_jpeg(&picture, 95).unwrap(),
            &DecodeLimits::default(),
        )
        .unwrap();
        let worst = picture
            .iter()
            .zip(back.iter())
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert_eq!(back.dimensions(), (40, 24));
        assert!(worst.unwrap() < 24, "{worst:?}");
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(encode_jpeg(&RgbImage::new(0, 4), 90).is_err());
        assert!(encode_jpeg_grey(&GrayImage::new(70_000, 1), 90).is_err());
    }

    #[test]
    fn blake3_is_the_published_digest_of_nothing() {
        assert_eq!(
            blake3_hex(b""),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }
}
