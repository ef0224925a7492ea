//! The studio: a deterministic renderer of faces from FACS action units. It makes a labelled, long-tailed data set, and
//! edits the data set's own pictures: same person, pose, light, backdrop and sensor noise, other expression. At stated
//! rates its edits are spoilt on purpose, and it says how, so that a guard's precision and recall can be measured.
//!
//! A picture of the data set carries its scene in a JPEG comment ([`SceneRecord`]); an edit carries nothing, so that no
//! gate can read the truth from it. Plain Rust: this module knows no transport.
//!
//! Everything follows from seeds. The same arguments give the same bytes on the same platform.

mod colour;
mod dataset;
mod edit;
mod expression;
mod faults;
mod identity;
mod record;
mod render;
mod rng;
mod scene;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};

pub use self::dataset::{DatasetItem, DatasetPlan, LONG_TAIL, plan};
pub use self::edit::{Edited, edit, edit_image};
pub use self::expression::{Expression, Label, Side, Unit};
pub use self::faults::{Fault, FaultRates};
pub use self::identity::Identity;
pub use self::record::{SIZES, SceneRecord};
pub use self::render::render;
pub use self::scene::{Backdrop, Camera, Light, Pose, Scene};

/// What the studio cannot do, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StudioError {
    #[error(
        "the source is not a JPEG: the studio edits only the pictures of its own data set, as it wrote them"
    )]
    NotJpeg,
    #[error(
        "the source carries no studio scene: the studio edits only the pictures of its own data set, unaltered; use another backend for photographs"
    )]
    NoScene,
    #[error("the studio scene in the source is damaged: {0}; render the data set again")]
    Damaged(#[from] serde_json::Error),
    #[error("size is {0} pixels, the studio renders {low} to {high}", low = SIZES.start(), high = SIZES.end())]
    Size(u32),
    #[error(
        "label '{0}' is not an expression of the studio; it knows neutral, happy, sad, surprise, fear, disgust, anger, contempt"
    )]
    UnknownLabel(String),
    #[error("fault rates must each lie in 0..=1 and sum to at most 1, they are {0}")]
    Rates(String),
    #[error("the data set would have {0} images, at most {max} are rendered at once; lower the counts", max = dataset::MAX_IMAGES)]
    TooMany(u64),
    #[error("the picture could not be encoded: {0}")]
    Encode(#[from] image::ImageError),
}

/// Encodes a picture as JPEG, without a scene.
pub(crate) fn encode(picture: &RgbImage, quality: u8) -> Result<Vec<u8>, StudioError> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    encoder.encode(
        picture,
        picture.width(),
        picture.height(),
        ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}
