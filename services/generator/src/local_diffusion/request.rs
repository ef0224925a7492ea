//! A request in the model's terms, and the model's answer in the source's: at its size, with its fine detail.

use std::collections::BTreeMap;

use saga_imaging::{DecodeLimits, Filter, RgbImage, decode, grey, is_grey, resize};
use saga_models::diffusion::class_conditional::Settings;

use super::config::{DETAIL, LocalDiffusionConfig};
use super::model::{Edited, Facts, Job};
use crate::backend::Spec;
use crate::denoising::{self, GUIDANCE, JPEG_QUALITY, STEPS};
use crate::error::GenerateError;
use crate::parameters::Parameters;

/// Which of the models in service edits; the default one where it is not given.
pub(super) const MODEL: &str = "model";

const PARAMETERS: [&str; 6] = [
    "steps",
    "guidance",
    "strength",
    "detail",
    "jpeg_quality",
    MODEL,
];

/// What becomes of the model's answer.
pub(super) struct Finish {
    source: RgbImage,
    /// The source as the model saw it.
    seen: RgbImage,
    detail: f32,
    pub(super) quality: u8,
    parameters: Parameters,
}

/// The job, and how its answer is finished.
pub(super) fn read(
    spec: Spec,
    config: &LocalDiffusionConfig,
    facts: &Facts,
    limits: &DecodeLimits,
) -> Result<(Job, Finish), GenerateError> {
    if !facts.labels.contains(&spec.target_label) {
        let why = format!(
            "is '{}'; the model was trained on {}",
            spec.target_label,
            facts.labels.join(", ")
        );
        return Err(GenerateError::invalid("spec.target_label", why));
    }
    let mut parameters = Parameters::new(spec.parameters);
    if let Some(model) = parameters.text(MODEL) {
        parameters.note(MODEL, model);
    }
    let steps = parameters.number("steps", config.steps, STEPS)?;
    let guidance = parameters.number("guidance", config.guidance, GUIDANCE)?;
    let strength = denoising::strength(&mut parameters, config.strength, steps)?;
    let detail = parameters.number("detail", config.detail, DETAIL)?;
    let quality = parameters.number("jpeg_quality", config.jpeg_quality, JPEG_QUALITY)?;
    parameters.check_all_read(&PARAMETERS)?;
    let source = decode(&spec.source.unwrap_or_default(), limits);
    let source = source.map_err(|error| GenerateError::image("spec.source.data", &error))?;
    // As the trainer brings images to the model's size.
    let seen = resize(&source, facts.side, facts.side, Filter::Bilinear);
    let job = Job {
        source: seen.clone(),
        source_blake3: spec.source_blake3,
        label: spec.target_label,
        seed: spec.seed,
        settings: Settings {
            steps,
            guidance,
            strength,
        },
    };
    let finish = Finish {
        source,
        seen,
        detail,
        quality,
        parameters,
    };
    Ok((job, finish))
}

impl Finish {
    /// The answer in the size of the source, with what the source shows finer than the model sees.
    pub(super) fn picture(&self, edited: &RgbImage) -> RgbImage {
        let (width, height) = self.source.dimensions();
        let enlarged = |picture| resize(picture, width, height, Filter::Bicubic);
        let (mut made, seen) = (enlarged(edited), enlarged(&self.seen));
        let fine = self.source.iter().zip(seen.iter());
        for (level, (source, seen)) in made.iter_mut().zip(fine) {
            let fine = f32::from(*source) - f32::from(*seen);
            *level = (f32::from(*level) + self.detail * fine).round() as u8;
        }
        if is_grey(&self.source) {
            return image::DynamicImage::ImageLuma8(grey(&made)).into_rgb8();
        }
        made
    }

    /// Every setting that was in force, and the training image nearest to the answer.
    pub(super) fn parameters(mut self, edited: Option<&Edited>) -> BTreeMap<String, String> {
        if let Some(nearest) = edited.and_then(|edited| edited.nearest.as_ref()) {
            self.parameters
                .note("nearest_train_image", &nearest.image_id);
            self.parameters
                .note("nearest_train_distance", nearest.distance);
            self.parameters.note("nearest_train_share", nearest.share);
        }
        self.parameters.in_force()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(source: RgbImage, detail: f32) -> Finish {
        Finish {
            seen: resize(&source, 16, 16, Filter::Bilinear),
            source,
            detail,
            quality: 95,
            parameters: Parameters::new(BTreeMap::new()),
        }
    }

    /// Stripes that are too fine for the model to see, in colour.
    fn stripes() -> RgbImage {
        RgbImage::from_fn(64, 48, |x, _| match x % 2 {
            0 => image::Rgb([90, 100, 110]),
            _ => image::Rgb([150, 160, 170]),
        })
    }

    #[test]
    fn an_answer_that_changes_nothing_is_the_source() {
        let source = stripes();
        let whole = finish(source.clone(), 1.0);
        assert_eq!(whole.picture(&whole.seen.clone()), source);
        let without = finish(source, 0.0);
        let made = without.picture(&without.seen.clone());
        assert!(made.iter().all(|level| (110..=150).contains(level)));
    }

    #[test]
    fn detail_is_added_to_what_changes_and_grey_stays_grey() {
        let whole = finish(stripes(), 1.0);
        let brighter = RgbImage::from_fn(16, 16, |x, y| {
            image::Rgb(whole.seen.get_pixel(x, y).0.map(|level| level + 20))
        });
        let made = whole.picture(&brighter);
        let difference = made.iter().zip(whole.source.iter());
        assert!(difference.clone().all(|(a, b)| a.abs_diff(b + 20) <= 1));
        let grey = finish(RgbImage::from_pixel(32, 32, image::Rgb([77; 3])), 1.0);
        let red = RgbImage::from_pixel(16, 16, image::Rgb([90, 77, 77]));
        assert!(is_grey(&grey.picture(&red)));
    }
}
