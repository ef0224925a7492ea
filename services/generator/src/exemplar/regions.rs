//! The regions of a face that carry its expression, as soft masks placed by the face's pose.

use std::fmt;
use std::str::FromStr;

use super::plane::Plane;
use super::similarity::{Frame, Similarity};

/// A part of the face that expressions move (FACS: lower face, upper face, and what joins them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// Lips, corners of the mouth, upper chin.
    Mouth,
    /// Eyes and eyebrows with the skin between them.
    Eyes,
    /// Nose, nasolabial folds and inner cheeks.
    Nose,
}

/// An ellipse of the canonical face: centre and half axes, in units.
struct Ellipse {
    centre: (f32, f32),
    axes: (f32, f32),
}

/// Where the soft edge of an ellipse begins, as a share of its radius.
const CORE: f32 = 0.62;

impl Region {
    const ALL: [Self; 3] = [Self::Mouth, Self::Eyes, Self::Nose];

    fn name(self) -> &'static str {
        match self {
            Self::Mouth => "mouth",
            Self::Eyes => "eyes",
            Self::Nose => "nose",
        }
    }

    fn ellipse(self) -> Ellipse {
        let (centre, axes) = match self {
            Self::Mouth => ((0.0, 0.295), (0.25, 0.165)),
            Self::Eyes => ((0.0, -0.16), (0.33, 0.165)),
            Self::Nose => ((0.0, 0.08), (0.27, 0.20)),
        };
        Ellipse { centre, axes }
    }
}

/// A set of regions, written like `mouth+eyes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regions {
    chosen: [bool; 3],
}

/// What [`Regions`] do not read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a region; write mouth, eyes, nose or several joined by '+', for example mouth+eyes"
)]
pub struct UnknownRegion(pub String);

impl Regions {
    /// The given regions.
    pub fn of(regions: &[Region]) -> Self {
        Self {
            chosen: Region::ALL.map(|region| regions.contains(&region)),
        }
    }

    fn iter(self) -> impl Iterator<Item = Region> {
        Region::ALL
            .into_iter()
            .zip(self.chosen)
            .filter_map(|(region, chosen)| chosen.then_some(region))
    }

    /// How much of each pixel of an image belongs to the regions of a face with this pose: 1 in their cores, 0 off
    /// them, smooth between.
    pub(super) fn mask(self, width: usize, height: usize, pose: &Similarity) -> Plane {
        self.grown(width, height, pose, 1.0)
    }

    /// [`Self::mask`] of regions whose axes are `growth` times as long.
    pub(super) fn grown(
        self,
        width: usize,
        height: usize,
        pose: &Similarity,
        growth: f32,
    ) -> Plane {
        let (frame, back) = (Frame::new(width, height), pose.inverse());
        Plane::from_fn(width, height, |x, y| {
            let point = back.apply(frame.to_unit((x as f32, y as f32)));
            1.0 - self
                .iter()
                .map(|region| 1.0 - region.ellipse().membership(point, growth))
                .product::<f32>()
        })
    }
}

impl Ellipse {
    fn membership(&self, (x, y): (f32, f32), growth: f32) -> f32 {
        let dx = (x - self.centre.0) / (self.axes.0 * growth);
        let dy = (y - self.centre.1) / (self.axes.1 * growth);
        let inward = ((1.0 - dx.hypot(dy)) / (1.0 - CORE)).clamp(0.0, 1.0);
        inward * inward * (3.0 - 2.0 * inward)
    }
}

impl FromStr for Regions {
    type Err = UnknownRegion;

    fn from_str(text: &str) -> Result<Self, UnknownRegion> {
        let find = |word: &str| {
            Region::ALL
                .into_iter()
                .find(|region| region.name() == word.trim())
        };
        let regions: Result<Vec<Region>, _> = text
            .split('+')
            .map(|word| find(word).ok_or_else(|| UnknownRegion(word.trim().to_owned())))
            .collect();
        Ok(Self::of(&regions?))
    }
}

impl fmt::Display for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Region::name).collect();
        f.write_str(&names.join("+"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_names_what_it_does_not_know() {
        for text in ["mouth", "eyes", "mouth+eyes", "mouth+eyes+nose"] {
            assert_eq!(text.parse::<Regions>().unwrap().to_string(), text);
        }
        assert_eq!(
            "nose + mouth".parse::<Regions>().unwrap().to_string(),
            "mouth+nose"
        );
        assert_eq!(
            "mouth+ears".parse::<Regions>(),
            Err(UnknownRegion("ears".to_owned()))
        );
        assert_eq!("".parse::<Regions>(), Err(UnknownRegion(String::new())));
    }

    #[test]
    fn the_mask_follows_the_pose() {
        let mouth = Regions::of(&[Region::Mouth]);
        let centred = mouth.mask(100, 100, &Similarity::IDENTITY);
        assert_eq!((centred.at(50, 79), centred.at(50, 30)), (1.0, 0.0));
        let moved = mouth.mask(100, 100, &Similarity::new(1.0, 0.0, 0.1, -0.2));
        assert_eq!((moved.at(60, 59), moved.at(50, 90)), (1.0, 0.0));
    }

    #[test]
    fn regions_join_without_a_seam_and_grow() {
        let all = Regions::of(&Region::ALL).mask(200, 200, &Similarity::IDENTITY);
        assert!((60..165).all(|y| all.at(100, y) > 0.6));
        let eyes = Regions::of(&[Region::Eyes]);
        let (tight, wide) = (
            eyes.mask(64, 64, &Similarity::IDENTITY),
            eyes.grown(64, 64, &Similarity::IDENTITY, 1.3),
        );
        assert!(tight.data.iter().zip(&wide.data).all(|(a, b)| a <= b));
    }
}
