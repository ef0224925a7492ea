//! The exemplar editor: changes the expression of a real photograph with parts of real photographs of the target class.
//!
//! | step | module |
//! |---|---|
//! | find the face in source and exemplar, align them | [`register`] with [`ecc`], against the picture in [`face`] |
//! | choose exemplar, regions and strength by the seed | here |
//! | place soft masks on the regions | [`regions`] |
//! | match the light and blend | [`blend`], on the pyramids of [`pyramid`] |
//!
//! It needs no landmarks, no weights and no network. Source and exemplars are face crops with roughly centred, upright
//! faces. What it cannot do: turn a head, or open a mouth wider than the aligned chin leaves room for.

mod blend;
mod ecc;
mod face;
mod linear;
mod photograph;
mod plane;
mod pyramid;
mod regions;
mod register;
mod similarity;

use std::ops::RangeInclusive;

use image::RgbImage;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use ecc::Fit;
use photograph::Photograph;
use plane::Plane;
use register::{Features, align, locate};
use similarity::{Frame, Similarity};

pub use photograph::Raster;
pub use regions::{Region, Regions, UnknownRegion};

/// Where the canonical face correlates less with an image, its face lies outside the reach of [`register::locate`].
const MIN_FACE_CORRELATION: f32 = 0.4;
/// An exemplar with fewer pixels than this for each pixel of the source, along a line, would blur the edit.
const MIN_RESOLUTION: f32 = 0.4;
/// Length in units over which an exemplar fades out towards its own border.
const BORDER_FADE: f32 = 0.04;
/// Growth of the regions' axes that bounds where pixels may change.
const ENVELOPE_GROWTH: f32 = 1.35;
/// The coarsest blended band, in units.
const COARSEST_BAND: f32 = 0.08;
/// Regions drawn when the settings leave them open, with their odds. The mouth tells most expressions
/// apart, but alone it changes too little of the picture.
const REGION_ODDS: [(&[Region], u32); 3] = [
    (&[Region::Mouth, Region::Eyes, Region::Nose], 6),
    (&[Region::Mouth, Region::Eyes], 2),
    (&[Region::Mouth, Region::Nose], 2),
];

/// What an edit may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Share of the exemplar in the regions' cores, 0 to 1; drawn from this range.
    pub strength: RangeInclusive<f32>,
    /// The regions to replace; `None` draws them.
    pub regions: Option<Regions>,
    /// Alignments that correlate less are not used, -1 to 1.
    pub min_correlation: f32,
}

/// An edited photograph and the choices that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Of the source's size and colour.
    pub raster: Raster,
    /// Index of the exemplar used.
    pub exemplar: usize,
    /// Whether it was mirrored.
    pub mirrored: bool,
    /// Correlation of the alignment, -1 to 1.
    pub correlation: f32,
    /// The regions replaced.
    pub regions: Regions,
    /// The share of the exemplar.
    pub strength: f32,
}

/// Why there is no edit.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum EditError {
    /// The source's face lies too far from centred and upright, or is no face.
    #[error(
        "no centred, upright face is found in the source (correlation {found:.2}, needed {MIN_FACE_CORRELATION}); crop it to the face"
    )]
    NoFace {
        /// The best correlation with the canonical face, -1 to 1.
        found: f32,
    },
    /// Nothing to take an expression from.
    #[error("no exemplars: send at least one real image of the target class")]
    NoExemplars,
    /// Every exemplar was tried.
    #[error(
        "none of {tried} exemplars aligns with the source (best correlation {best:.2}, needed {needed:.2}); send others"
    )]
    NoAlignment {
        /// Exemplars tried.
        tried: usize,
        /// The best correlation reached, -1 to 1; negative infinity where no exemplar shows a face.
        best: f32,
        /// `min_correlation`.
        needed: f32,
    },
}

/// Edits `source` towards the expression of one of `exemplars`. The same arguments give the same edit.
pub fn edit(
    source: &RgbImage,
    exemplars: &[RgbImage],
    seed: u64,
    settings: &Settings,
) -> Result<Edit, EditError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..exemplars.len()).collect();
    order.shuffle(&mut rng);
    let (low, high) = (*settings.strength.start(), *settings.strength.end());
    let strength = low + (high - low) * rng.random::<f32>();
    let drawn = draw_regions(&mut rng);
    let regions = settings.regions.unwrap_or(drawn);

    let source = Subject::of(Photograph::of(source))?;
    let mut best = f32::NEG_INFINITY;
    for (exemplar, image) in order
        .iter()
        .filter_map(|index| Some((*index, exemplars.get(*index)?)))
    {
        let donor = Photograph::of(image);
        let Some(aligned) = source.align(&donor) else {
            continue;
        };
        best = best.max(aligned.correlation);
        if aligned.correlation >= settings.min_correlation
            && source.resolution(&donor, &aligned) >= MIN_RESOLUTION
        {
            let raster = source
                .blended(&donor, &aligned, regions, strength)
                .to_raster();
            let Aligned {
                mirrored,
                correlation,
                ..
            } = aligned;
            return Ok(Edit {
                raster,
                exemplar,
                mirrored,
                correlation,
                regions,
                strength,
            });
        }
    }
    match exemplars.len() {
        0 => Err(EditError::NoExemplars),
        tried => Err(EditError::NoAlignment {
            tried,
            best,
            needed: settings.min_correlation,
        }),
    }
}

fn draw_regions(rng: &mut ChaCha8Rng) -> Regions {
    let total: u32 = REGION_ODDS.iter().map(|(_, odds)| odds).sum();
    let mut ticket = rng.random_range(0..total);
    for (regions, odds) in REGION_ODDS {
        if ticket < odds {
            return Regions::of(regions);
        }
        ticket -= odds;
    }
    Regions::of(REGION_ODDS[0].0)
}

/// The photograph to edit and where its face lies.
struct Subject {
    photograph: Photograph,
    features: Features,
    frame: Frame,
    pose: Similarity,
}

/// How an exemplar lies over the subject.
struct Aligned {
    /// From the subject's units to the exemplar's, mirrored first where `mirrored`.
    transform: Similarity,
    mirrored: bool,
    correlation: f32,
}

impl Subject {
    fn of(photograph: Photograph) -> Result<Self, EditError> {
        let features = Features::of(&photograph.luma);
        let frame = Frame::new(photograph.luma.width, photograph.luma.height);
        let Fit { pose, correlation } = locate(&features);
        if correlation < MIN_FACE_CORRELATION {
            return Err(EditError::NoFace { found: correlation });
        }
        Ok(Self {
            photograph,
            features,
            frame,
            pose,
        })
    }

    /// The better of the exemplar and its mirror image; `None` where no face is found in it.
    fn align(&self, donor: &Photograph) -> Option<Aligned> {
        let features = Features::of(&donor.luma);
        let Fit {
            pose: guess,
            correlation,
        } = locate(&features);
        if correlation < MIN_FACE_CORRELATION {
            return None;
        }
        let plain = align(&self.features, &self.pose, &features, guess);
        let flipped = align(
            &self.features,
            &self.pose,
            &features.mirrored(),
            guess.mirrored(),
        );
        let mirrored = flipped.correlation > plain.correlation;
        let fit = if mirrored { flipped } else { plain };
        Some(Aligned {
            transform: fit.pose.after(&self.pose.inverse()),
            mirrored,
            correlation: fit.correlation,
        })
    }

    /// Pixels of the exemplar for each pixel of the subject, along a line.
    fn resolution(&self, donor: &Photograph, aligned: &Aligned) -> f32 {
        aligned.transform.scale() * Frame::new(donor.luma.width, donor.luma.height).unit
            / self.frame.unit
    }

    fn blended(
        &self,
        donor: &Photograph,
        aligned: &Aligned,
        regions: Regions,
        strength: f32,
    ) -> Photograph {
        let donor = if aligned.mirrored {
            donor.mirrored()
        } else {
            donor.clone()
        };
        let luma = &self.photograph.luma;
        let reach = self.reach(&donor.luma, &aligned.transform);
        let cut = |plane: Plane| plane.zip(&reach, |value, reach| value * reach);
        let mask = cut(regions.mask(luma.width, luma.height, &self.pose));
        let envelope = cut(regions.grown(luma.width, luma.height, &self.pose, ENVELOPE_GROWTH));
        let ring = envelope.zip(&mask, |wide, tight| (wide - tight).max(0.0));
        let mask = mask.zip(&mask, |share, _| share * strength);
        let levels = ((self.frame.unit * COARSEST_BAND).log2().max(0.0) as usize + 1).min(8);

        let matched = |base: &Plane, plane: &Plane| {
            blend::match_light(base, &self.warped(plane, aligned), &ring)
        };
        let chroma = match (&self.photograph.chroma, &donor.chroma) {
            (Some([cb, cr]), Some([donor_cb, donor_cr])) => {
                Some([(cb, donor_cb), (cr, donor_cr)].map(|(base, plane)| {
                    blend::blend(base, &matched(base, plane), &mask, &envelope, levels)
                }))
            }
            (chroma, _) => chroma.clone(),
        };
        let luma = blend::blend(luma, &matched(luma, &donor.luma), &mask, &envelope, levels);
        Photograph { luma, chroma }
    }

    /// The exemplar's plane as seen from the subject.
    fn warped(&self, plane: &Plane, aligned: &Aligned) -> Plane {
        let plane =
            register::shrunk_below(plane, 1.6 * self.frame.unit / aligned.transform.scale());
        let frame = Frame::new(plane.width, plane.height);
        Plane::from_fn(
            self.photograph.luma.width,
            self.photograph.luma.height,
            |x, y| {
                let unit = self.frame.to_unit((x as f32, y as f32));
                let (x, y) = frame.to_pixel(aligned.transform.apply(unit));
                plane.bicubic(x, y)
            },
        )
    }

    /// 1 where the exemplar has pixels to give, falling to 0 at its border.
    fn reach(&self, donor: &Plane, transform: &Similarity) -> Plane {
        let frame = Frame::new(donor.width, donor.height);
        let (half_width, half_height) = (
            donor.width as f32 / frame.unit / 2.0,
            donor.height as f32 / frame.unit / 2.0,
        );
        Plane::from_fn(
            self.photograph.luma.width,
            self.photograph.luma.height,
            |x, y| {
                let (x, y) = transform.apply(self.frame.to_unit((x as f32, y as f32)));
                let inside = (half_width - x.abs()).min(half_height - y.abs());
                (inside / BORDER_FADE).clamp(0.0, 1.0)
            },
        )
    }
}

#[cfg(test)]
mod tests;
