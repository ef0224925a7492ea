//! A request to the pipeline's terms: its parameters checked, its source decoded and of a size that the model takes.

use std::collections::BTreeMap;

use saga_imaging::{DecodeLimits, Filter, RgbImage, decode, resize};
use saga_models::diffusion::{Settings, Task};

use super::config::{IMAGE_GUIDANCE, SIZE, StableDiffusionConfig};
use super::worker::{Facts, Job};
use crate::backend::Spec;
use crate::denoising::{self, GUIDANCE, JPEG_QUALITY, STEPS};
use crate::error::GenerateError;
use crate::parameters::{Parameters, invalid};

const PARAMETERS: [&str; 8] = [
    "steps",
    "guidance",
    "image_guidance",
    "strength",
    "scheduler",
    "negative_prompt",
    "size",
    "jpeg_quality",
];

/// The job, the settings that are in force by name, and the quality of the answer's JPEG.
pub(super) fn read(
    spec: Spec,
    config: &StableDiffusionConfig,
    facts: &Facts,
    limits: &DecodeLimits,
) -> Result<(Job, BTreeMap<String, String>, u8), GenerateError> {
    if spec.prompt.is_empty() {
        let why = "is empty; say what the picture should show";
        return Err(GenerateError::invalid("spec.prompt", why));
    }
    let mut parameters = Parameters::new(spec.parameters);
    let steps = parameters.number("steps", config.steps, STEPS)?;
    let guidance = parameters.number("guidance", config.guidance, GUIDANCE)?;
    let scheduler = match parameters.text("scheduler") {
        Some(name) => name
            .parse()
            .map_err(|error: saga_models::ModelError| invalid("scheduler", error.to_string()))?,
        None => facts.scheduler,
    };
    parameters.note("scheduler", scheduler);
    let given = parameters.text("negative_prompt");
    let negative_prompt = given.unwrap_or_else(|| config.negative_prompt.clone());
    parameters.note("negative_prompt", &negative_prompt);
    let quality = parameters.number("jpeg_quality", config.jpeg_quality, JPEG_QUALITY)?;
    let size = parameters.number("size", config.size, SIZE)?;
    if !size.is_multiple_of(facts.scale) {
        let why = format!("is {size}; it must be a multiple of {}", facts.scale);
        return Err(invalid("size", why));
    }
    let source = spec.source.map(|bytes| {
        let source = decode(&bytes, limits);
        source.map_err(|error| GenerateError::image("spec.source.data", &error))
    });
    let source = source.transpose()?;
    let task = match (&source, facts.is_instructed) {
        (_, true) => Task::Instruct {
            image_guidance: parameters.number(
                "image_guidance",
                config.image_guidance,
                IMAGE_GUIDANCE,
            )?,
        },
        (Some(_), false) => Task::ImageToImage {
            strength: denoising::strength(&mut parameters, config.strength, steps)?,
        },
        (None, false) => Task::TextToImage {
            width: size,
            height: size,
        },
    };
    parameters.check_all_read(&PARAMETERS)?;
    let job = Job {
        prompt: spec.prompt,
        negative_prompt,
        source: source.map(|source| fitted(&source, size, facts.scale)),
        seed: spec.seed,
        settings: Settings {
            steps,
            guidance,
            scheduler,
            task,
        },
    };
    Ok((job, parameters.in_force(), quality))
}

/// The source with its longer side `size` pixels long, and both sides multiples of `scale`.
fn fitted(source: &RgbImage, size: u32, scale: u32) -> RgbImage {
    let (width, height) = source.dimensions();
    let longest = f64::from(width.max(height));
    let side = |side: u32| {
        let units = f64::from(side) / longest * f64::from(size) / f64::from(scale);
        (units.round() as u32).max(1) * scale
    };
    let (wanted_width, wanted_height) = (side(width), side(height));
    if (wanted_width, wanted_height) == (width, height) {
        return source.clone();
    }
    resize(source, wanted_width, wanted_height, Filter::Lanczos3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_keep_their_proportions_as_far_as_the_model_allows() {
        for (from, to) in [
            ((100, 50), (64, 32)),
            ((30, 64), (32, 64)),
            ((64, 64), (64, 64)),
            ((900, 1), (64, 8)),
        ] {
            assert_eq!(
                fitted(&RgbImage::new(from.0, from.1), 64, 8).dimensions(),
                to
            );
        }
    }
}
