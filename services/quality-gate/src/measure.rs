//! The measures of one image.

use std::time::{Duration, Instant};

use saga_imaging::{
    DecodeError, DecodeLimits, Face, FaceDetector, FaceError, Filter, decode, grey,
    laplacian_variance, resize_grey, scaled_to_shorter,
};

/// What an image is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    /// Width and height in pixels, upright.
    pub size: (u32, u32),
    /// Variance of the Laplacian at the measured size; 0 and more, 0 where nothing differs.
    pub sharpness: f64,
    /// The faces, the most certain one first; `None` where they are not counted.
    pub faces: Option<Vec<Face>>,
    /// Time of decoding.
    pub decode: Duration,
    /// Time of measuring.
    pub compute: Duration,
}

/// An image could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// It does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Its faces could not be sought.
    #[error(transparent)]
    Faces(#[from] FaceError),
}

/// Measures images, on one thread.
pub struct Measurer {
    /// What an image may be at most.
    pub limits: DecodeLimits,
    /// Pixels of the shorter side where sharpness is measured.
    pub side: u32,
    /// Counts faces, where they are counted.
    pub faces: Option<FaceDetector>,
}

impl Measurer {
    /// Measures an encoded image, sharpness with the shorter side resized (bicubic, as Pillow resizes).
    ///
    /// # Errors
    /// As [`decode`] and [`FaceDetector::find`].
    pub fn measure(&mut self, encoded: &[u8]) -> Result<Quality, MeasureError> {
        let started = Instant::now();
        let picture = decode(encoded, &self.limits)?;
        let decoded = started.elapsed();
        let size = picture.dimensions();
        let luma = grey(&picture);
        let (width, height) = scaled_to_shorter(size, self.side);
        let sharpness = laplacian_variance(&resize_grey(&luma, width, height, Filter::Bicubic));
        let faces = self
            .faces
            .as_mut()
            .map(|faces| faces.find(&luma))
            .transpose()?;
        Ok(Quality {
            size,
            sharpness,
            faces,
            decode: decoded,
            compute: started.elapsed() - decoded,
        })
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
        let mut measurer = Measurer {
            limits: DecodeLimits::default(),
            side: 128,
            faces: None,
        };
        measurer.measure(&file).unwrap().sharpness
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
}
