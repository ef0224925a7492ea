//! Deletion and insertion (Petsiuk et al. 2018): how fast the probability of a class goes when the pixels that a map ranks
//! highest are taken away, and how fast it comes when they are put back.

use tch::{Device, Kind, Tensor};

use crate::{
    error::{ExplainError, Result},
    heatmap::Heatmap,
    masked::BATCH,
    method::Question,
    subject::{Subject, probabilities},
};

/// Steps from the first pixel to the last.
pub const STEPS: usize = 32;

/// Taps and deviation of the Gaussian that insertion starts from, in pixels, as the paper's code; its border is black, here the
/// picture's outermost pixels go on.
const TAPS: i64 = 11;
const DEVIATION: f64 = 5.0;

/// Probability of the class after each step, [`STEPS`] + 1 of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve(pub Vec<f32>);

impl Curve {
    /// Area under it by the trapezoidal rule over a width of one, 0 to 1.
    #[must_use]
    pub fn area(&self) -> f64 {
        let values = || self.0.iter().copied().map(f64::from);
        let ends = [self.0.first(), self.0.last()].into_iter().flatten();
        let halves = ends.map(|&end| f64::from(end) / 2.0).sum::<f64>();
        (values().sum::<f64>() - halves) / (self.0.len().saturating_sub(1).max(1)) as f64
    }
}

/// Of one map.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// Pixels go to the mean colour of the normalisation; a small area speaks for the map.
    pub deletion: Curve,
    /// Pixels come back to the blurred picture; a large area speaks for the map.
    pub insertion: Curve,
}

impl Curves {
    /// Adds `other`, for a mean.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.deletion, &other.deletion),
            (&mut self.insertion, &other.insertion),
        ];
        for (sum, one) in pairs {
            for (sum, value) in sum.0.iter_mut().zip(&one.0) {
                *sum += value;
            }
        }
    }

    /// Divides by a number of curves.
    pub fn divide(&mut self, count: u32) {
        for curve in [&mut self.deletion, &mut self.insertion] {
            for value in &mut curve.0 {
                *value /= count as f32;
            }
        }
    }

    /// Asks the model about 2 ([`STEPS`] + 1) pictures.
    ///
    /// # Errors
    /// [`ExplainError::Stopped`] where nobody waits any more.
    pub fn of(subject: &impl Subject, question: &Question<'_>, map: &Heatmap) -> Result<Self> {
        let whole = question.picture.pixel_values().f_to_device(Device::Cpu)?;
        let mut ranks = vec![0i64; map.values.len()];
        for (rank, pixel) in map.order().into_iter().enumerate() {
            if let Some(place) = ranks.get_mut(pixel) {
                *place = rank as i64;
            }
        }
        let [height, width] = question.picture.size();
        let ranks = Tensor::f_from_slice(&ranks)?.f_reshape([1, 1, height, width])?;
        let curve = |from: &Tensor, to: &Tensor| follow(subject, question, &ranks, [from, to]);
        Ok(Self {
            deletion: curve(&whole, &whole.f_zeros_like()?)?,
            insertion: curve(&blurred(&whole)?, &whole)?,
        })
    }
}

/// From the first picture to the second, pixel by pixel in the order of `ranks` [1, 1, H, W].
fn follow(
    subject: &impl Subject,
    question: &Question<'_>,
    ranks: &Tensor,
    [from, to]: [&Tensor; 2],
) -> Result<Curve> {
    let pixels = ranks.numel();
    let changed: Vec<i64> = (0..=STEPS)
        .map(|step| (step * pixels / STEPS) as i64)
        .collect();
    let mut curve = Vec::with_capacity(changed.len());
    for batch in changed.chunks(BATCH) {
        if (question.stop)() {
            return Err(ExplainError::Stopped);
        }
        let count = Tensor::f_from_slice(batch)?.f_reshape([-1, 1, 1, 1])?;
        let pictures = to.f_where_self(&ranks.f_lt_tensor(&count)?, from)?;
        let of_class = probabilities(subject, &pictures)?.f_select(1, question.class as i64)?;
        curve.extend(Vec::<f32>::try_from(&of_class)?);
    }
    Ok(Curve(curve))
}

/// [1, 3, H, W] through a Gaussian, edges continued.
fn blurred(pixels: &Tensor) -> Result<Tensor> {
    let half = TAPS / 2;
    let bell = |tap: i64| (-0.5 * (tap as f64 / DEVIATION).powi(2)).exp();
    let taps: Vec<f64> = (-half..=half).map(bell).collect();
    let line = Tensor::f_from_slice(&taps)?;
    let line = line.f_div(&line.f_sum(Kind::Double)?)?;
    let kernel = line
        .f_outer(&line)?
        .f_to_kind(Kind::Float)?
        .f_reshape([1, 1, TAPS, TAPS])?;
    let channels = pixels.f_transpose(0, 1)?;
    let blurred = channels
        .f_replication_pad2d([half, half, half, half])?
        .f_conv2d::<Tensor>(&kernel, None, [1, 1], [0, 0], [1, 1], 1)?;
    Ok(blurred.f_transpose(0, 1)?.f_contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Picture;
    use image::RgbImage;

    /// Sees the left half alone: its mean is the logit of class 1.
    struct Left;

    impl Subject for Left {
        fn logits(&self, pixel_values: &Tensor) -> Result<Tensor> {
            let half = pixel_values.size4()?.3 / 2;
            let left = pixel_values.f_narrow(3, 0, half)?;
            let mean = left.f_mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float)?;
            Ok(Tensor::f_stack(
                &[mean.f_zeros_like()?, mean.f_mul_scalar(8.0)?],
                1,
            )?)
        }

        fn activations(&self, _: &Tensor, _: i64) -> Result<[Tensor; 2]> {
            unreachable!("curves need logits alone")
        }

        fn attention_maps(&self, _: &Tensor) -> Result<Vec<Tensor>> {
            Ok(Vec::new())
        }
    }

    fn curves(values: impl Fn(usize) -> f32, stop: &dyn Fn() -> bool) -> Result<Curves> {
        let ones = Tensor::ones([1, 3, 8, 8], (Kind::Float, Device::Cpu));
        let picture = Picture::new(ones, RgbImage::new(8, 8)).unwrap();
        let question = Question {
            picture: &picture,
            class: 1,
            samples: None,
            seed: 0,
            stop,
        };
        let map = Heatmap {
            height: 8,
            width: 8,
            values: (0..64).map(values).collect(),
        };
        Curves::of(&Left, &question, &map)
    }

    #[test]
    fn a_map_that_knows_where_the_model_looks_deletes_faster() {
        let left = |pixel: usize| if pixel % 8 < 4 { 1.0 } else { 0.0 };
        let right = curves(|pixel| 1.0 - left(pixel), &|| false).unwrap();
        let left = curves(left, &|| false).unwrap();
        assert_eq!(left.deletion.0.len(), STEPS + 1);
        assert!(left.deletion.0[0] > 0.99 && left.deletion.0[STEPS] == 0.5);
        assert!(left.deletion.0[STEPS / 2] == 0.5 && right.deletion.0[STEPS / 2] > 0.99);
        assert!(left.deletion.area() + 0.2 < right.deletion.area());
        // A picture of one colour is its own blur.
        assert!((left.insertion.area() - f64::from(left.deletion.0[0])).abs() < 1e-6);
    }

    /// Half black, half white: across the edge each pixel is the share of the taps that lie in the white half, farther off nothing
    /// changes.
    #[test]
    fn an_edge_is_spread_over_the_taps() {
        let row: Vec<f32> = (0..24).map(|x| if x < 12 { 0.0 } else { 1.0 }).collect();
        let picture = Tensor::from_slice(&row).view([1, 1, 1, 24]);
        let blurred = blurred(&picture.expand([1, 3, 16, 24], false)).unwrap();
        let line = Vec::<f64>::try_from(blurred.get(0).get(2).get(8)).unwrap();
        let bell = |tap: i64| (-0.5 * (tap as f64 / DEVIATION).powi(2)).exp();
        let all: f64 = (-5..=5).map(bell).sum();
        for (x, &found) in (0..).zip(&line) {
            let white: f64 = (-5..=5).filter(|tap| x + tap >= 12).map(bell).sum();
            assert!((found - white / all).abs() < 1e-6, "{x}: {found}");
        }
    }

    #[test]
    fn nobody_waits_for_a_stopped_one() {
        let stopped = curves(|_| 0.0, &|| true);
        assert!(matches!(stopped, Err(ExplainError::Stopped)));
    }

    #[test]
    fn areas_are_those_of_trapezoids() {
        assert!((Curve(vec![1.0, 0.5, 0.0]).area() - 0.5).abs() < 1e-12);
        assert!((Curve(vec![1.0, 0.0, 0.0]).area() - 0.25).abs() < 1e-12);
    }
}
