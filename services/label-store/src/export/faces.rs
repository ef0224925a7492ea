//! A second tree of the accepted images: their faces, cut out and brought to one size, without signatures.

use std::path::Path;

use saga_imaging::{
    DecodeLimits, EncodeError, Face, FaceDetector, Filter, Part, RgbImage, decode, encode_jpeg,
    encode_jpeg_grey, grey, is_grey, resize_part,
};

use super::{Accepted, files};
use crate::{blobs::Blobs, error::StoreError};

/// Sides in pixels that may be asked for.
const SIDES: std::ops::RangeInclusive<u32> = 16..=4_096;
/// The cut square's side beside the detector's box, which ends at brows and chin.
const SURROUNDINGS: f64 = 1.4;
/// Of the JPEG files written.
const QUALITY: u8 = 95;

/// The face of an accepted image.
#[derive(Clone, Debug)]
pub(super) struct CutFace {
    pub(super) candidate_id: String,
    pub(super) label: String,
    /// Relative to the export.
    pub(super) path: String,
    /// The image that it was cut from, likewise.
    pub(super) source: String,
    /// The square in pixels of that image.
    pub(super) square: Square,
}

/// Where a square lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Square {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) side: u32,
}

/// # Errors
/// [`StoreError::Invalid`] for a side that cannot be written.
pub(super) fn check(side: u32) -> Result<(), StoreError> {
    if SIDES.contains(&side) {
        return Ok(());
    }
    let why = format!("is {side}; {} to {} are taken", SIDES.start(), SIDES.end());
    Err(StoreError::invalid("face_side", why))
}

/// Writes the most certain face of each image that has one.
pub(super) fn cut(
    directory: &Path,
    blobs: &Blobs,
    images: &[Accepted],
    side: u32,
) -> Result<Vec<CutFace>, StoreError> {
    let failed =
        |error: &dyn std::fmt::Display| StoreError::Task(format!("cutting faces: {error}"));
    let mut detector = FaceDetector::new().map_err(|error| failed(&error))?;
    let mut faces = Vec::new();
    for image in images {
        let file = blobs.read(&image.blake3)?;
        let picture = decode(&file, &DecodeLimits::default()).map_err(|error| failed(&error))?;
        let found = detector
            .find(&grey(&picture))
            .map_err(|error| failed(&error))?;
        let Some(square) = found
            .first()
            .and_then(|face| square(face, picture.dimensions()))
        else {
            continue;
        };
        let path = format!("aug_cropped/{}/{}.jpg", image.label, image.candidate.id);
        let file = write(&picture, square, side).map_err(|error| failed(&error))?;
        let place = directory.join(&path);
        if let Some(folder) = place.parent() {
            files::create_folder(folder)?;
        }
        files::write_atomically(&place, &file)?;
        faces.push(CutFace {
            candidate_id: image.candidate.id.clone(),
            label: image.label.clone(),
            path,
            source: image.path.clone(),
            square,
        });
    }
    Ok(faces)
}

/// The square around a face, moved and shrunk into the picture; `None` where nothing of it is in there.
fn square(face: &Face, (width, height): (u32, u32)) -> Option<Square> {
    let shorter = width.min(height);
    let side = (face.width.max(face.height) * SURROUNDINGS).round();
    let side = (side as u32).min(shorter);
    let start = |centre: f64, length: u32| {
        let start = (centre - f64::from(side) / 2.0).round();
        // Saturates at 0.
        (start as u32).min(length - side)
    };
    let square = Square {
        left: start(face.left + face.width / 2.0, width),
        top: start(face.top + face.height / 2.0, height),
        side,
    };
    (side > 0).then_some(square)
}

/// The square as a JPEG file of `side` pixels, in one channel where the picture has no colour.
fn write(picture: &RgbImage, square: Square, side: u32) -> Result<Vec<u8>, EncodeError> {
    let scaled = |length: u32| {
        let scaled = u64::from(length) * u64::from(side) / u64::from(square.side);
        u32::try_from(scaled).unwrap_or(u32::MAX)
    };
    let (width, height) = picture.dimensions();
    // Rounding must not push the part over the edge.
    let (width, height) = (scaled(width).max(side), scaled(height).max(side));
    let part = Part {
        left: scaled(square.left).min(width - side),
        top: scaled(square.top).min(height - side),
        width: side,
        height: side,
    };
    let cut = resize_part(picture, (width, height), part, Filter::Bicubic);
    if is_grey(picture) {
        encode_jpeg_grey(&grey(&cut), QUALITY)
    } else {
        encode_jpeg(&cut, QUALITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(left: f64, top: f64, size: f64) -> Face {
        Face {
            left,
            top,
            width: size,
            height: size,
            score: 2.0,
        }
    }

    #[test]
    fn a_square_surrounds_its_face_and_stays_within_the_picture() {
        let of = |left: u32, top: u32, side: u32| Some(Square { left, top, side });
        assert_eq!(square(&face(40.0, 30.0, 50.0), (200, 150)), of(30, 20, 70));
        assert_eq!(square(&face(-10.0, 100.0, 50.0), (200, 150)), of(0, 80, 70));
        assert_eq!(square(&face(0.0, 0.0, 500.0), (200, 150)), of(50, 0, 150));
        assert_eq!(square(&face(0.0, 0.0, 0.0), (200, 150)), None);
        assert!(check(15).is_err() && check(16).is_ok());
    }

    #[test]
    fn what_is_cut_has_its_size_and_mode() {
        let coloured = RgbImage::from_fn(90, 70, |x, y| saga_imaging::Rgb([x as u8, y as u8, 9]));
        let grey_one = RgbImage::from_fn(90, 70, |x, _| saga_imaging::Rgb([x as u8; 3]));
        let square = Square {
            left: 41,
            top: 21,
            side: 49,
        };
        for side in [16, 48, 333] {
            let cut =
                |picture| image::load_from_memory(&write(picture, square, side).unwrap()).unwrap();
            assert_eq!(
                (cut(&coloured).width(), cut(&coloured).height()),
                (side, side)
            );
            assert_eq!(cut(&coloured).color(), image::ColorType::Rgb8);
            assert_eq!(cut(&grey_one).color(), image::ColorType::L8);
        }
    }
}
