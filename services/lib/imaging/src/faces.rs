//! Faces in a picture: the SeetaFace cascade (Wu et al., "Funnel-structured cascade for multi-view face detection with
//! alignment awareness", 2016) of the crate rustface, with the weights its package carries.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::GrayImage;
use rustface::{Detector, ImageData, create_detector_with_model, read_model};

use crate::resize::{Filter, resize_grey, scaled_to_shorter};

/// The shorter side in pixels where faces are sought; a face has 40 at least, the cascade's window.
const SIDE: u32 = 96;
/// Pixels of repeated edge all around: a portrait's face often reaches the edges, and the cascade wants some surroundings.
const MARGIN: u32 = 14;
/// Detections less certain are none. A window scores 1 at most, and a face is found by several. With these three, 494 of 500
/// photographs of one person have one face, 99 of 100 pairs of them two, and 200 cuttings of textures and things none.
const MIN_SCORE: f64 = 1.5;

static WEIGHTS: &[u8] = include_bytes!(env!("SEETAFACE_WEIGHTS"));

/// A face, in pixels of the picture it was found in; it may reach over the edges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Face {
    /// Columns before it.
    pub left: f64,
    /// Rows above it.
    pub top: f64,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
    /// How certain it is, 1.5 and more.
    pub score: f64,
}

/// Faces could not be sought.
#[derive(Debug, thiserror::Error)]
pub enum FaceError {
    /// The weights compiled in are not the detector's.
    #[error("the face detector's weights cannot be read: {0}")]
    Weights(#[from] io::Error),
    /// The detector gave up on a picture; the next one is not affected.
    #[error("the face detector failed on this picture")]
    Failed,
}

/// A face detector for one thread.
pub struct FaceDetector(Box<dyn Detector>);

impl FaceDetector {
    /// Reads the weights.
    ///
    /// # Errors
    /// [`FaceError::Weights`].
    pub fn new() -> Result<Self, FaceError> {
        let mut detector = create_detector_with_model(read_model(WEIGHTS)?);
        detector.set_score_thresh(MIN_SCORE);
        Ok(Self(detector))
    }

    /// The faces of a picture, the most certain one first: those that look into the camera, not turned by more than about half a
    /// right angle, and have two fifths of the shorter side at least.
    ///
    /// # Errors
    /// [`FaceError::Failed`].
    pub fn find(&mut self, picture: &GrayImage) -> Result<Vec<Face>, FaceError> {
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 {
            return Ok(Vec::new());
        }
        let (scaled_width, scaled_height) = scaled_to_shorter((width, height), SIDE);
        let scaled = resize_grey(picture, scaled_width, scaled_height, Filter::Bilinear);
        let framed = with_margin(&scaled);
        // The library answers what it does not expect with a panic, and keeps nothing from picture to picture.
        let found = catch_unwind(AssertUnwindSafe(|| {
            let data = ImageData::new(framed.as_raw(), framed.width(), framed.height());
            self.0.detect(&data)
        }));
        let (across, down) = (
            f64::from(width) / f64::from(scaled_width),
            f64::from(height) / f64::from(scaled_height),
        );
        let margin = f64::from(MARGIN);
        let face = |found: &rustface::FaceInfo| Face {
            left: (f64::from(found.bbox().x()) - margin) * across,
            top: (f64::from(found.bbox().y()) - margin) * down,
            width: f64::from(found.bbox().width()) * across,
            height: f64::from(found.bbox().height()) * down,
            score: found.score(),
        };
        let found = found.map_err(|_| FaceError::Failed)?;
        Ok(found.iter().map(face).collect())
    }
}

/// The picture amid [`MARGIN`] pixels of its own edge; it must not be empty.
fn with_margin(picture: &GrayImage) -> GrayImage {
    let (width, height) = picture.dimensions();
    let within = |at: u32, side: u32| at.saturating_sub(MARGIN).min(side - 1);
    GrayImage::from_fn(width + 2 * MARGIN, height + 2 * MARGIN, |x, y| {
        *picture.get_pixel(within(x, width), within(y, height))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;

    /// An oval with brows, eyes, nose and mouth, all blurred, as a child would draw it.
    fn drawn_face(side: u32, centres: &[(f64, f64)], size: f64) -> GrayImage {
        let blob = |dx: f64, dy: f64, width: f64, height: f64| {
            let distance = (dx / width).hypot(dy / height);
            1.0 / (1.0 + (8.0 * (distance - 1.0)).exp())
        };
        GrayImage::from_fn(side, side, |x, y| {
            let mut level = 70.0;
            for (left, top) in centres {
                let (x, y) = (
                    (f64::from(x) / f64::from(side) - left) / size,
                    (f64::from(y) / f64::from(side) - top) / size,
                );
                let head = blob(x, y, 0.75, 1.0);
                let mut face = 190.0;
                for side in [-1.0, 1.0] {
                    face -= 90.0 * blob(x - side * 0.3, y + 0.34, 0.2, 0.05);
                    face -= 130.0 * blob(x - side * 0.3, y + 0.17, 0.14, 0.07);
                    face -= 50.0 * blob(x - side * 0.1, y - 0.22, 0.07, 0.04);
                }
                face -= 110.0 * blob(x, y - 0.5, 0.28, 0.07);
                level = level * (1.0 - head) + face * head;
            }
            Luma([level.clamp(0.0, 255.0) as u8])
        })
    }

    #[test]
    fn drawn_faces_are_counted_and_located() {
        let mut detector = FaceDetector::new().unwrap();
        let none = GrayImage::from_fn(96, 96, |x, y| Luma([(x * 2 + y / 2) as u8]));
        assert_eq!(detector.find(&none).unwrap(), []);
        assert_eq!(detector.find(&GrayImage::new(0, 8)).unwrap(), []);

        let one = detector
            .find(&drawn_face(200, &[(0.55, 0.5)], 0.36))
            .unwrap();
        let [face] = one[..] else { panic!("{one:?}") };
        assert!(
            (face.left + face.width / 2.0 - 110.0).abs() < 20.0,
            "{face:?}"
        );
        assert!((90.0..180.0).contains(&face.width), "{face:?}");

        let two = drawn_face(240, &[(0.26, 0.5), (0.75, 0.5)], 0.24);
        assert_eq!(detector.find(&two).unwrap().len(), 2);
    }

    #[test]
    fn the_size_of_a_picture_does_not_matter_nor_does_an_odd_shape() {
        let mut detector = FaceDetector::new().unwrap();
        for side in [64, 128, 500] {
            let found = detector
                .find(&drawn_face(side, &[(0.5, 0.5)], 0.4))
                .unwrap();
            assert_eq!(found.len(), 1, "{side}");
        }
        for (width, height) in [(1, 1), (1, 3000), (3000, 2), (17, 400)] {
            let noise =
                GrayImage::from_fn(width, height, |x, y| Luma([((x * 37) ^ (y * 91)) as u8]));
            assert!(detector.find(&noise).is_ok());
        }
    }
}
