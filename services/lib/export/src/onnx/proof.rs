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
/// Largest difference of all numbers in f16, as a share of their size (L2 norms): an f16 has 11 bits, and a deep model adds many of them up.
const MOST_HALF: f64 = 0.05;

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

/// # Errors
/// [`ExportError::HalfDrift`] where the graph in f16 is too far from the model, such as where what flows is beyond the largest f16.
pub(crate) fn half(tower: &Tower, graph: &Graph) -> Result<()> {
    let found = only(graph, &tower.sample)?;
    let expected = (tower.answers)(&tower.sample)?;
    let off = found.f_sub(&expected)?.f_norm()?.f_double_value(&[])?;
    let drift = off / expected.f_norm()?.f_double_value(&[])?;
    // NaN counts as drift.
    match drift <= MOST_HALF {
        true => Ok(()),
        false => Err(ExportError::HalfDrift {
            file: tower.file,
            drift,
            most: MOST_HALF,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::half::convert;
    use crate::onnx::proto::Side;
    use saga_models::tch::Device;

    /// `10,000 x`, said to be `answer * x`.
    fn tower(answer: f64) -> Tower {
        let mut graph = Graph::new("test");
        let shape = vec![Side::Fixed(2)];
        let x = graph.input("x", Kind::Float, shape.clone()).unwrap();
        let factor = graph.scalar(10_000.0).unwrap();
        let product = graph.push("test", "Mul", &[&x, &factor], &[]);
        graph.output(&product, LOGITS, shape).unwrap();
        Tower {
            file: "model.onnx",
            graph,
            sees: false,
            sample: Tensor::ones([2], (Kind::Float, Device::Cpu)),
            answers: Box::new(move |x| Ok(x * answer)),
        }
    }

    #[test]
    fn a_graph_in_f16_is_held_against_the_model() {
        let halved = |sample: f64, answer: f64| {
            let mut tower = tower(answer);
            tower.sample *= sample;
            let mut graph = tower.graph.shallow_clone();
            convert(&mut graph).unwrap();
            half(&tower, &graph)
        };
        halved(1.0, 10_000.0).unwrap();
        // Beyond 65,504 what flows is infinite, though each weight fits.
        for (sample, answer) in [(7.0, 10_000.0), (1.0, 9_000.0)] {
            let error = halved(sample, answer).unwrap_err();
            assert!(matches!(error, ExportError::HalfDrift { .. }), "{error}");
        }
    }
}
