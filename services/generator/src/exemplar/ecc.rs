//! Ascent of the normalised cross-correlation by the enhanced correlation coefficient method (Evangelidis and Psarakis,
//! "Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization", 2008), forward additive.

use super::face;
use super::linear::solve;
use super::plane::Plane;
use super::similarity::{Frame, Similarity};

/// Steps after which a climb ends in any case.
const MAX_STEPS: usize = 12;

/// A transform and the correlation it reaches, in [-1, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    /// From the canonical face, or the first image, to the image.
    pub(super) pose: Similarity,
    /// Weighted NCC at `pose`.
    pub(super) correlation: f32,
}

/// What an image is compared with: values at points of the canonical face, centred and of norm 1.
pub(super) struct Target {
    points: Vec<(f32, f32)>,
    weights: Vec<f32>,
    values: Vec<f32>,
}

impl Target {
    /// Samples `plane`, whose face has `pose`, on a canonical grid of `unit` points in a unit.
    pub(super) fn sample(plane: &Plane, pose: &Similarity, unit: f32) -> Self {
        let reach = (0.5 * unit) as i32;
        let grid = (-reach..=reach)
            .flat_map(|y| (-reach..=reach).map(move |x| (x as f32 / unit, y as f32 / unit)));
        let points: Vec<_> = grid.filter(|point| face::weight(*point) > 0.0).collect();
        let raw: Vec<f32> = points.iter().map(|point| face::weight(*point)).collect();
        let total: f32 = raw.iter().sum();
        let weights: Vec<f32> = raw.iter().map(|weight| weight / total).collect();
        let frame = Frame::new(plane.width, plane.height);
        let mut values: Vec<f32> = points
            .iter()
            .map(|point| read(plane, frame, pose, *point))
            .collect();
        standardise(&mut values, &weights);
        Self {
            points,
            weights,
            values,
        }
    }

    fn samples(&self, plane: &Plane, pose: &Similarity) -> Vec<f32> {
        let frame = Frame::new(plane.width, plane.height);
        let mut values: Vec<f32> = self
            .points
            .iter()
            .map(|point| read(plane, frame, pose, *point))
            .collect();
        standardise(&mut values, &self.weights);
        values
    }

    pub(super) fn correlation(&self, plane: &Plane, pose: &Similarity) -> f32 {
        self.dot(&self.values, &self.samples(plane, pose))
    }

    fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        a.iter()
            .zip(b)
            .zip(&self.weights)
            .map(|((a, b), weight)| a * b * weight)
            .sum()
    }
}

fn read(plane: &Plane, frame: Frame, pose: &Similarity, point: (f32, f32)) -> f32 {
    let (x, y) = frame.to_pixel(pose.apply(point));
    plane.bilinear(x, y)
}

/// Weighted mean 0 and weighted norm 1; all zeros where nothing varies.
fn standardise(values: &mut [f32], weights: &[f32]) {
    let mean: f32 = values
        .iter()
        .zip(weights)
        .map(|(value, weight)| value * weight)
        .sum();
    values.iter_mut().for_each(|value| *value -= mean);
    let norm = values
        .iter()
        .zip(weights)
        .map(|(value, weight)| value * value * weight)
        .sum::<f32>()
        .sqrt();
    let factor = if norm > 1e-6 { 1.0 / norm } else { 0.0 };
    values.iter_mut().for_each(|value| *value *= factor);
}

/// ECC ascent: steps are halved until they gain, and the climb ends when none does.
pub(super) fn climb(
    target: &Target,
    plane: &Plane,
    start: Similarity,
    cost: impl Fn(&Similarity) -> f32,
) -> Fit {
    let mut fit = Fit {
        pose: start,
        correlation: target.correlation(plane, &start),
    };
    for _ in 0..MAX_STEPS {
        let Some(step) = ecc_step(target, plane, &fit.pose) else {
            break;
        };
        let gained = [1.0, 0.5, 0.2].into_iter().find_map(|length| {
            let pose = moved(&fit.pose, &step, length);
            let correlation = target.correlation(plane, &pose);
            let gain = (correlation - cost(&pose)) - (fit.correlation - cost(&fit.pose));
            (gain > 1e-4).then_some(Fit { pose, correlation })
        });
        match gained {
            Some(better) => fit = better,
            None => break,
        }
    }
    fit
}

fn moved(pose: &Similarity, step: &[f64; 4], length: f32) -> Similarity {
    let [a, b, tx, ty] = step.map(|value| value as f32 * length);
    Similarity {
        a: pose.a + a,
        b: pose.b + b,
        tx: pose.tx + tx,
        ty: pose.ty + ty,
    }
}

/// The closed-form step of the forward-additive ECC iteration, in (a, b, tx, ty).
fn ecc_step(target: &Target, plane: &Plane, pose: &Similarity) -> Option<[f64; 4]> {
    let frame = Frame::new(plane.width, plane.height);
    let mut hessian = [[0.0; 4]; 4];
    let (mut with_image, mut with_target, mut centre) = ([0.0; 4], [0.0; 4], [0.0; 4]);
    let image = target
        .points
        .iter()
        .map(|point| read(plane, frame, pose, *point));
    let mean: f32 = image
        .clone()
        .zip(&target.weights)
        .map(|(value, weight)| value * weight)
        .sum();
    let image: Vec<f32> = image.map(|value| value - mean).collect();
    for (i, point) in target.points.iter().enumerate() {
        let jacobian = jacobian(plane, frame, pose, *point);
        let weight = f64::from(target.weights[i]);
        for row in 0..4 {
            for column in 0..4 {
                hessian[row][column] += weight * jacobian[row] * jacobian[column];
            }
            centre[row] += weight * jacobian[row];
            with_image[row] += weight * jacobian[row] * f64::from(image[i]);
            with_target[row] += weight * jacobian[row] * f64::from(target.values[i]);
        }
    }
    // The images are centred, so their derivatives are too.
    for (row, values) in hessian.iter_mut().enumerate() {
        values
            .iter_mut()
            .zip(&centre)
            .for_each(|(value, other)| *value -= centre[row] * other);
    }
    let image_part = solve(hessian, with_image)?;
    let target_part = solve(hessian, with_target)?;
    let energy = f64::from(target.dot(&image, &image)) - inner(&with_image, &image_part);
    let agreement =
        f64::from(target.dot(&image, &target.values)) - inner(&with_image, &target_part);
    if agreement <= 0.0 {
        return None;
    }
    let lambda = energy / agreement;
    Some(std::array::from_fn(|k| {
        lambda * target_part[k] - image_part[k]
    }))
}

fn inner(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Derivatives of the value read at a canonical point by (a, b, tx, ty).
fn jacobian(plane: &Plane, frame: Frame, pose: &Similarity, point: (f32, f32)) -> [f64; 4] {
    let (x, y) = frame.to_pixel(pose.apply(point));
    let dx =
        f64::from(0.5 * frame.unit * (plane.bilinear(x + 1.0, y) - plane.bilinear(x - 1.0, y)));
    let dy =
        f64::from(0.5 * frame.unit * (plane.bilinear(x, y + 1.0) - plane.bilinear(x, y - 1.0)));
    let (px, py) = (f64::from(point.0), f64::from(point.1));
    [dx * px + dy * py, dy * px - dx * py, dx, dy]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climbs_back_from_a_small_displacement() {
        let plane = Plane::from_fn(96, 96, |x, y| {
            (x as f32 * 0.21).sin() * (y as f32 * 0.17).cos() + x as f32 * 0.004
        });
        let target = Target::sample(&plane, &Similarity::IDENTITY, 64.0);
        let start = Similarity::new(1.03, 0.03, 0.012, -0.01);
        let fit = climb(&target, &plane, start, |_| 0.0);
        assert!(fit.correlation > 0.9999 && fit.correlation > target.correlation(&plane, &start));
        assert!(
            (fit.pose.scale() - 1.0).abs() < 2e-3 && fit.pose.tx.hypot(fit.pose.ty) < 2e-3,
            "{fit:?}"
        );
    }

    #[test]
    fn a_flat_plane_has_no_step() {
        let flat = Plane::from_fn(30, 30, |_, _| 5.0);
        let target = Target::sample(&flat, &Similarity::IDENTITY, 24.0);
        assert!(ecc_step(&target, &flat, &Similarity::IDENTITY).is_none());
    }
}
