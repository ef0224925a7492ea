//! The scene inside the picture: its seeds as JSON in a JPEG comment (COM) segment, so that a picture of the studio can
//! be edited from its bytes alone.

use serde::{Deserialize, Serialize};

use super::StudioError;
use super::expression::{Expression, Label};
use super::identity::Identity;
use super::scene::{Backdrop, Camera, Light, Pose, Scene};

/// Marks the comment as the studio's and gives the version of the renderer's parameters.
const SIGNATURE: &str = "saga-studio/1 ";

/// Sides of a picture in pixels that the studio renders.
pub const SIZES: std::ops::RangeInclusive<u32> = 64..=512;

/// A scene as its seeds, with the side of the picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SceneRecord {
    /// Side of the square picture in pixels.
    pub size: u32,
    pub identity: u64,
    pub label: Label,
    pub expression: u64,
    pub pose: u64,
    pub light: u64,
    pub backdrop: u64,
    pub camera: u64,
    pub exposure: u64,
}

impl SceneRecord {
    /// The record of a scene rendered at `size` pixels.
    pub fn of(scene: &Scene, size: u32) -> Self {
        Self {
            size,
            identity: scene.identity.seed,
            label: scene.expression.label,
            expression: scene.expression.seed,
            pose: scene.pose.seed,
            light: scene.light.seed,
            backdrop: scene.backdrop.seed,
            camera: scene.camera.seed,
            exposure: scene.camera.exposure,
        }
    }

    /// The scene of the record.
    pub fn scene(&self) -> Scene {
        Scene {
            identity: Identity::from_seed(self.identity),
            expression: Expression::sample(self.label, self.expression),
            pose: Pose::sample(self.pose),
            light: Light::sample(self.light),
            backdrop: Backdrop::sample(self.backdrop),
            camera: Camera::sample(self.camera, self.exposure),
        }
    }

    /// Puts the record into a JPEG, right after its start-of-image marker.
    pub fn embed(&self, jpeg: &[u8]) -> Result<Vec<u8>, StudioError> {
        let Some(body) = jpeg.strip_prefix(&START_OF_IMAGE) else {
            return Err(StudioError::NotJpeg);
        };
        let text = format!("{SIGNATURE}{}", serde_json::to_string(self)?);
        // The length counts its own two bytes; the record is a few hundred bytes.
        let length = u16::try_from(text.len() + 2).unwrap_or(u16::MAX);
        let mut marked = Vec::with_capacity(jpeg.len() + text.len() + 4);
        marked.extend_from_slice(&START_OF_IMAGE);
        marked.extend_from_slice(&[0xFF, COMMENT]);
        marked.extend_from_slice(&length.to_be_bytes());
        marked.extend_from_slice(text.as_bytes());
        marked.extend_from_slice(body);
        Ok(marked)
    }

    /// Finds the record of a JPEG.
    pub fn extract(jpeg: &[u8]) -> Result<Self, StudioError> {
        if !jpeg.starts_with(&START_OF_IMAGE) {
            return Err(StudioError::NotJpeg);
        }
        let text = comments(jpeg).find_map(|comment| comment.strip_prefix(SIGNATURE.as_bytes()));
        let record: Self = serde_json::from_slice(text.ok_or(StudioError::NoScene)?)?;
        if SIZES.contains(&record.size) {
            Ok(record)
        } else {
            Err(StudioError::Size(record.size))
        }
    }
}

const START_OF_IMAGE: [u8; 2] = [0xFF, 0xD8];
const COMMENT: u8 = 0xFE;
const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;

/// The comment segments before the first scan. Stops at whatever is not a well-formed segment.
fn comments(jpeg: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = jpeg.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            let (&[0xFF, marker], after) = rest.split_first_chunk::<2>()? else {
                return None;
            };
            if matches!(marker, START_OF_SCAN | END_OF_IMAGE) {
                return None;
            }
            let length = usize::from(u16::from_be_bytes(*after.first_chunk::<2>()?));
            let payload = after.get(2..length)?;
            rest = after.get(length..)?;
            if marker == COMMENT {
                return Some(payload);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = SceneRecord> {
        (SIZES, any::<[u64; 7]>(), 0..Label::ALL.len()).prop_map(|(size, seeds, label)| {
            let [
                identity,
                expression,
                pose,
                light,
                backdrop,
                camera,
                exposure,
            ] = seeds;
            SceneRecord {
                size,
                identity,
                label: Label::ALL[label],
                expression,
                pose,
                light,
                backdrop,
                camera,
                exposure,
            }
        })
    }

    proptest! {
        #[test]
        fn records_round_trip(record in any_record(), segment in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xE0];
            jpeg.extend_from_slice(&(segment.len() as u16 + 2).to_be_bytes());
            jpeg.extend_from_slice(&segment);
            jpeg.extend_from_slice(&[0xFF, 0xDA, 0, 2, 1, 2, 3]);
            prop_assert!(matches!(SceneRecord::extract(&jpeg), Err(StudioError::NoScene)));
            let marked = record.embed(&jpeg).unwrap();
            prop_assert_eq!(SceneRecord::extract(&marked).unwrap(), record.clone());
            prop_assert_eq!(SceneRecord::of(&record.scene(), record.size), record);
        }

        #[test]
        fn damaged_bytes_never_panic(record in any_record(), at in 0_usize..400, byte in any::<u8>(), cut in 0_usize..400) {
            let mut marked = record.embed(&[0xFF, 0xD8, 0xFF, 0xD9]).unwrap();
            if let Some(place) = marked.get_mut(at) {
                *place = byte;
            }
            marked.truncate(cut);
            let _ = SceneRecord::extract(&marked);
        }

        #[test]
        fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [vec![0xFF, 0xD8], tail].concat();
            prop_assert!(SceneRecord::extract(&bytes).is_err());
        }
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        let mut record = SceneRecord::of(&Scene::sample(1), 128);
        record.size = 60_000;
        let marked = record.embed(&[0xFF, 0xD8, 0xFF, 0xD9]).unwrap();
        assert!(matches!(
            SceneRecord::extract(&marked),
            Err(StudioError::Size(60_000))
        ));
        assert!(matches!(
            SceneRecord::extract(b"GIF89a"),
            Err(StudioError::NotJpeg)
        ));
    }
}
