//! From a question about one picture to its map.

use crate::{
    cam::class_activation_map,
    error::{ExplainError, Result},
    heatmap::Heatmap,
    kernel_shap::{self, Coalitions},
    lime,
    masked::Masked,
    rollout::attention_rollout,
    subject::{Picture, Subject, probabilities},
};

/// The most pictures that one explanation may ask the model about.
pub const MAX_SAMPLES: usize = 10_000;

/// A way to explain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    GradCam,
    GradCamPlusPlus,
    AttentionRollout,
    KernelShap,
    Lime,
}

/// What is to be explained, and at what cost.
pub struct Question<'a> {
    pub picture: &'a Picture,
    /// Index of the class; attention rollout does not depend on it.
    pub class: usize,
    /// Pictures with hidden regions that KernelSHAP and LIME ask about; none: as many as shap and lime do.
    pub samples: Option<usize>,
    /// Of the random masks.
    pub seed: u64,
    /// Asked between batches; true where nobody waits any more.
    pub stop: &'a dyn Fn() -> bool,
}

/// The map of one method: 0 to 1 of class activation maps and rollout; of KernelSHAP and LIME what each pixel's region adds to
/// the probability of the class, which may be negative.
///
/// # Errors
/// [`ExplainError`].
pub fn explain(subject: &impl Subject, method: Method, question: &Question<'_>) -> Result<Heatmap> {
    if (question.stop)() {
        return Err(ExplainError::Stopped);
    }
    let Question { picture, class, .. } = *question;
    let class = class as i64;
    match method {
        Method::GradCam => class_activation_map(subject, picture, class, false),
        Method::GradCamPlusPlus => class_activation_map(subject, picture, class, true),
        Method::AttentionRollout => attention_rollout(subject, picture),
        Method::KernelShap => {
            let masked = Masked::new(subject, picture, picture.regions(), question.stop)?;
            let values = shapley_values(&masked, class, question)?;
            Ok(spread(picture, &values))
        }
        Method::Lime => {
            let masked = Masked::new(subject, picture, picture.regions(), question.stop)?;
            let samples = question.samples.unwrap_or(lime::SAMPLES);
            enough(samples, masked.count())?;
            let masks = lime::masks(masked.count(), samples, question.seed);
            let probabilities = masked.probability(&masks, class)?;
            Ok(spread(
                picture,
                &lime::coefficients(&masks, &probabilities)?,
            ))
        }
    }
}

fn shapley_values(
    masked: &Masked<'_, impl Subject>,
    class: i64,
    question: &Question<'_>,
) -> Result<Vec<f64>> {
    let regions = masked.count();
    let ends = masked.probability(&[vec![false; regions], vec![true; regions]], class)?;
    let (none, all) = (ends.f_double_value(&[0])?, ends.f_double_value(&[1])?);
    if regions == 1 {
        return Ok(vec![all - none]);
    }
    let samples = question
        .samples
        .unwrap_or(kernel_shap::default_samples(regions));
    enough(samples, regions)?;
    let coalitions = Coalitions::draw(regions, samples, question.seed);
    let probabilities = masked.probability(&coalitions.masks, class)?;
    coalitions
        .values(&probabilities, none, all)
        .map_err(|error| match error {
            ExplainError::Torch(_) => too_few(samples, regions),
            other => other,
        })
}

/// Twice the regions or more, since a coalition and its complement tell the same.
fn enough(samples: usize, regions: usize) -> Result<()> {
    match (2 * regions..=MAX_SAMPLES).contains(&samples) {
        true => Ok(()),
        false => Err(too_few(samples, regions)),
    }
}

fn too_few(samples: usize, regions: usize) -> ExplainError {
    ExplainError::TooFewSamples {
        samples,
        regions,
        least: 2 * regions,
        most: MAX_SAMPLES,
    }
}

/// The value of each pixel's region.
fn spread(picture: &Picture, values: &[f64]) -> Heatmap {
    let value = |&region: &usize| values.get(region).map_or(0.0, |&value| value as f32);
    Heatmap {
        height: picture.pixels().height() as usize,
        width: picture.pixels().width() as usize,
        values: picture.regions().iter().map(value).collect(),
    }
}

/// `class`, or where none is asked for the most probable one, with its probability.
///
/// # Errors
/// [`ExplainError::Class`] where the model has no such class.
pub fn class_of(
    subject: &impl Subject,
    picture: &Picture,
    class: Option<usize>,
) -> Result<(usize, f32)> {
    let row = probabilities(subject, picture.pixel_values())?.f_select(0, 0)?;
    let probabilities: Vec<f32> = Vec::try_from(&row)?;
    let ranked = || probabilities.iter().copied().enumerate();
    let found = match class {
        Some(class) => ranked().find(|&(index, _)| index == class),
        None => ranked().max_by(|a, b| a.1.total_cmp(&b.1)),
    };
    found.ok_or(ExplainError::Class {
        class: class.unwrap_or_default(),
        last: probabilities.len().saturating_sub(1),
    })
}
