//! Brings a candidate to the recipe's size and mode before any gate sees it, so that what is judged is what is stored, trained on
//! and exported.

use saga_imaging::{
    DecodeError, DecodeLimits, EncodeError, Filter, Part, RgbImage, blake3_hex, decode,
    encode_jpeg, encode_jpeg_grey, grey, resize_part, scaled_to_shorter,
};
use saga_proto::r#type::v1::Image;

use crate::recipe::Normalisation;

/// Of the JPEG files written.
const QUALITY: u8 = 95;

/// A candidate that cannot be brought to its size.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NormaliseError {
    /// It is no image within the limits.
    #[error("the generator's image does not decode: {0}")]
    Decode(#[from] DecodeError),
    /// It cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The thread that worked on it ended.
    #[error("normalisation ended early: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// The image as a JPEG file of `wanted` size and mode, on a thread where that may take its time.
pub(crate) async fn normalise(
    image: Image,
    wanted: Normalisation,
) -> Result<Image, NormaliseError> {
    let data = tokio::task::spawn_blocking(move || jpeg(&image.data, wanted)).await??;
    Ok(Image {
        blake3: blake3_hex(&data),
        data: data.into(),
    })
}

fn jpeg(file: &[u8], wanted: Normalisation) -> Result<Vec<u8>, NormaliseError> {
    let picture = middle(&decode(file, &DecodeLimits::default())?, wanted.size);
    Ok(match wanted.grey {
        true => encode_jpeg_grey(&grey(&picture), QUALITY)?,
        false => encode_jpeg(&picture, QUALITY)?,
    })
}

/// The middle square of the picture with the shorter side resized to `side`.
fn middle(picture: &RgbImage, side: u32) -> RgbImage {
    let (width, height) = scaled_to_shorter(picture.dimensions(), side);
    let part = Part {
        left: (width - side) / 2,
        top: (height - side) / 2,
        width: side,
        height: side,
    };
    resize_part(picture, (width, height), part, Filter::Bicubic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_imaging::Rgb;

    /// Red to the left, a wide green middle, blue to the right.
    fn stripes(width: u32, height: u32) -> Image {
        let picture = RgbImage::from_fn(width, height, |x, _| match x * 4 / width {
            0 => Rgb([255, 0, 0]),
            3 => Rgb([0, 0, 255]),
            _ => Rgb([0, 255, 0]),
        });
        Image {
            data: encode_jpeg(&picture, 100).unwrap().into(),
            ..Image::default()
        }
    }

    #[tokio::test]
    async fn every_image_gets_the_size_and_mode_and_shows_the_middle() {
        for (width, height) in [(200, 100), (64, 32), (30, 15)] {
            for is_grey in [false, true] {
                let wanted = Normalisation {
                    size: 48,
                    grey: is_grey,
                };
                let image = normalise(stripes(width, height), wanted).await.unwrap();
                assert_eq!(image.blake3, blake3_hex(&image.data));
                // The third byte after a JPEG's frame marker and its length, depth and sides: the number of channels.
                let frame = image
                    .data
                    .windows(2)
                    .position(|m| m == [0xFF, 0xC0])
                    .unwrap();
                assert_eq!(image.data[frame + 9], if is_grey { 1 } else { 3 });
                let picture = decode(&image.data, &DecodeLimits::default()).unwrap();
                assert_eq!(picture.dimensions(), (48, 48));
                let centre = picture.get_pixel(24, 24).0;
                let green = if is_grey { [150; 3] } else { [0, 255, 0] };
                let off = |(a, b): (&u8, &u8)| a.abs_diff(*b);
                assert!(
                    centre.iter().zip(&green).map(off).all(|by| by < 12),
                    "{centre:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_image_is_an_error_of_the_generator() {
        let wanted = Normalisation {
            size: 48,
            grey: false,
        };
        let text = Image {
            data: "no image".into(),
            ..Image::default()
        };
        let error = normalise(text, wanted).await.unwrap_err();
        assert!(error.to_string().contains("does not decode"), "{error}");
    }
}
