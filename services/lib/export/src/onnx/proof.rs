//! Whether a graph gives the model's answers.

use crate::error::{ExportError, Result};
use crate::onnx::LOGITS;
use crate::onnx::evaluate::evaluate;
use crate::onnx::graph::Graph;
use crate::onnx::towers::Tower;
use saga_imaging::RgbImage;
use saga_models::int8::{Agreement, BATCH, COMPARED, LEAST_AGREEMENT, OBSERVED};
use saga_models::preprocess::Preprocessor;
use saga_models::tch::{Kind, Tensor};

/// Pictures among which a CLIP's answer is the nearest.
const CHOICES: usize = 16;
/// Largest difference of a logit in f32.
const MOST: f64 = 1e-3;

/// How far the f32 graph is from the model.
///
/// # Errors
/// [`ExportError::Drift`] where that is too far.
pub(crate) fn drift(tower: &Tower) -> Result<f64> {
    let found = only(&tower.graph, &tower.sample)?;
    let expected = (tower.answers)(&tower.sample)?;
    let drift = found
        .f_sub(&expected)?
        .f_abs()?
        .f_max()?
        .f_double_value(&[])?;
    // NaN counts as drift.
    match drift <= MOST {
        true => Ok(drift),
        false => Err(ExportError::Drift {
            file: tower.file,
            drift,
            most: MOST,
        }),
    }
}

/// How many answers of the quantised graph are the model's own.
///
/// # Errors
/// [`ExportError::Disagreement`] where too few are.
pub(crate) fn agreement(tower: &Tower, graph: &Graph, batches: &mut Batches) -> Result<Agreement> {
    let mut agreement = Agreement { agreeing: 0, of: 0 };
    while agreement.of < COMPARED {
        let pixels = batches.next(CHOICES.min(COMPARED - agreement.of))?;
        let reference = in_batches(&pixels, |pixels| (tower.answers)(pixels))?;
        let found = in_batches(&pixels, |pixels| only(graph, pixels))?;
        let (expected, found) = match graph.outputs.iter().all(|output| output.name != LOGITS) {
            // Among these pictures, which is the nearest?
            true => {
                let others = reference.f_transpose(0, 1)?;
                (reference.f_matmul(&others)?, found.f_matmul(&others)?)
            }
            false => (reference, found),
        };
        let same = expected
            .f_argmax(-1, false)?
            .f_eq_tensor(&found.f_argmax(-1, false)?)?;
        agreement.agreeing += same.f_sum(Kind::Int64)?.f_int64_value(&[])? as usize;
        agreement.of += same.numel();
    }
    match agreement.share() >= LEAST_AGREEMENT {
        true => Ok(agreement),
        false => Err(ExportError::Disagreement {
            agreeing: agreement.agreeing,
            of: agreement.of,
            least: LEAST_AGREEMENT * 100.0,
        }),
    }
}

fn in_batches(pixels: &Tensor, answers: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let batches = pixels.f_split(BATCH as i64, 0)?;
    let answers: Vec<_> = batches.iter().map(answers).collect::<Result<_>>()?;
    Ok(Tensor::f_cat(&answers, 0)?)
}

fn only(graph: &Graph, input: &Tensor) -> Result<Tensor> {
    let outputs = evaluate(graph, &[input.shallow_clone()], |_, _| Ok(()))?;
    outputs
        .into_iter()
        .next()
        .ok_or_else(|| ExportError::Graph {
            node: graph.name.clone(),
            why: "it has no output".to_owned(),
        })
}

/// Pictures as batches of pixel values.
pub(crate) struct Batches<'a> {
    pictures: &'a mut dyn Iterator<Item = RgbImage>,
    preprocessor: Preprocessor,
}

impl<'a> Batches<'a> {
    pub(crate) fn new(
        pictures: &'a mut dyn Iterator<Item = RgbImage>,
        preprocessor: Preprocessor,
    ) -> Self {
        Self {
            pictures,
            preprocessor,
        }
    }

    /// So many pictures.
    pub(crate) fn next(&mut self, size: usize) -> Result<Tensor> {
        let pictures = (&mut self.pictures).take(size);
        let items: Vec<_> = pictures
            .map(|picture| self.preprocessor.pixel_values(&picture))
            .collect();
        match items.len() == size {
            true => Ok(self.preprocessor.batch(&items)?),
            false => Err(ExportError::TooFewPictures {
                needed: OBSERVED + COMPARED,
            }),
        }
    }
}
