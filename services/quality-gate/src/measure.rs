//! The measures of one image.

use std::time::{Duration, Instant};

use saga_imaging::{
    DecodeError, DecodeLimits, Filter, decode, grey, laplacian_variance, resize_grey,
};

/// What an image is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// Width and height in pixels, upright.
    pub size: (u32, u32),
    /// Variance of the Laplacian at the measured size; 0 and more, 0 where nothing differs.
    pub sharpness: f64,
    /// Time of decoding.
    pub decode: Duration,
    /// Time of measuring.
    pub compute: Duration,
}

/// Measures an encoded image, sharpness with the shorter side resized to `side` pixels (bicubic, as Pillow resizes).
///
/// # Errors
/// As [`decode`].
pub fn measure(encoded: &[u8], limits: &DecodeLimits, side: u32) -> Result<Quality, DecodeError> {
    let started = Instant::now();
    let picture = decode(encoded, limits)?;
    let decoded = started.elapsed();
    let (width, height) = picture.dimensions();
    let (new_width, new_height) = measured_size((width, height), side);
    let sharpness = laplacian_variance(&resize_grey(
        &grey(&picture),
        new_width,
        new_height,
        Filter::Bicubic,
    ));
    Ok(Quality {
        size: (width, height),
        sharpness,
        decode: decoded,
        compute: started.elapsed() - decoded,
    })
}

/// Longest side that is measured, in shorter ones: what lies beyond does not pay.
const LONGEST: u32 = 4;

/// The shorter side becomes `side`, the longer one in proportion, at most [`LONGEST`] times that.
fn measured_size((width, height): (u32, u32), side: u32) -> (u32, u32) {
    let (shorter, longer) = (width.min(height).max(1), width.max(height));
    let scaled = u64::from(longer) * u64::from(side) / u64::from(shorter);
    let longest = u64::from(side) * u64::from(LONGEST);
    let long = u32::try_from(scaled.clamp(1, longest)).unwrap_or(side);
    if width <= height {
        (side, long)
    } else {
        (long, side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_imaging::{Rgb, RgbImage, encode_jpeg, resize};

    fn chequers(side: u32) -> RgbImage {
        RgbImage::from_fn(side, side, |x, y| {
            let level = if (x * 8 / side + y * 8 / side).is_multiple_of(2) {
                40
            } else {
                200
            };
            Rgb([level; 3])
        })
    }

    fn sharpness(picture: &RgbImage) -> f64 {
        let file = encode_jpeg(picture, 95).unwrap();
        measure(&file, &DecodeLimits::default(), 128)
            .unwrap()
            .sharpness
    }

    #[test]
    fn blur_lowers_it_and_size_hardly_moves_it() {
        let sharp = sharpness(&chequers(256));
        let blurred = resize(&chequers(256), 24, 24, Filter::Bilinear);
        let blurred = resize(&blurred, 256, 256, Filter::Bicubic);
        assert!(sharpness(&blurred) < sharp / 4.0);
        let larger = sharpness(&chequers(640));
        assert!((larger / sharp - 1.0).abs() < 0.25, "{sharp}, {larger}");
        assert!(sharpness(&RgbImage::new(64, 64)) < 1e-9);
    }

    #[test]
    fn the_shorter_side_is_measured_at_one_length() {
        assert_eq!(measured_size((640, 480), 224), (298, 224));
        assert_eq!(measured_size((48, 48), 224), (224, 224));
        assert_eq!(measured_size((1, 16_384), 224), (224, 896));
        assert_eq!(measured_size((16_384, 1), 224), (896, 224));
    }
}
