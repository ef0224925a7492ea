//! Registration of faces without landmarks: similarity transforms that maximise normalised cross-correlation (NCC).
//!
//! Both images are made comparable by local normalisation (minus the local mean, over the local standard deviation),
//! which removes most of the lighting. A grid search on a coarse level finds the basin; [`super::ecc`] climbs to its top
//! on finer ones.

use std::sync::LazyLock;

use super::ecc::{Fit, Target, climb};
use super::face;
use super::plane::Plane;
use super::similarity::{Frame, Similarity};

/// The canonical face, normalised like the images it is compared with.
static TEMPLATE: LazyLock<Plane> =
    LazyLock::new(|| normalised(&face::TEMPLATE, WINDOW * face::TEMPLATE.width as f32));

/// Pixels in a unit at each level, coarsest first.
const LEVELS: [f32; 3] = [24.0, 48.0, 96.0];
/// Standard deviation of the window of local normalisation, in units.
const WINDOW: f32 = 0.12;
const SCALES: [f32; 6] = [0.72, 0.82, 0.92, 1.03, 1.16, 1.3];
const ANGLES_DEGREES: [f32; 7] = [-24.0, -16.0, -8.0, 0.0, 8.0, 16.0, 24.0];
const SHIFTS: [f32; 7] = [-0.135, -0.09, -0.045, 0.0, 0.045, 0.09, 0.135];
/// How far poses of face crops commonly stray: natural logarithm of the scale, degrees, units. A pose that strays
/// this far must correlate better by [`PRIOR_WEIGHT`] to be preferred.
const PRIOR: (f32, f32, f32) = (0.16, 11.0, 0.08);
const PRIOR_WEIGHT: f32 = 0.035;

/// An image prepared for registration.
pub(super) struct Features {
    levels: Vec<Plane>,
}

impl Features {
    /// Resamples and normalises a plane of any size.
    pub(super) fn of(plane: &Plane) -> Self {
        Self {
            levels: LEVELS
                .iter()
                .map(|unit| normalised(&resampled(plane, *unit), WINDOW * unit))
                .collect(),
        }
    }

    /// The features of the mirrored image.
    pub(super) fn mirrored(&self) -> Self {
        Self {
            levels: self.levels.iter().map(Plane::mirrored).collect(),
        }
    }
}

/// Shrinks (smoothed) or enlarges a plane to `unit` pixels in a unit.
fn resampled(plane: &Plane, unit: f32) -> Plane {
    let plane = shrunk_below(plane, 2.0 * unit);
    let ratio = unit / Frame::new(plane.width, plane.height).unit;
    if ratio < 1.0 {
        resized(&plane.blurred(0.4 / ratio), ratio)
    } else {
        resized(&plane, ratio)
    }
}

/// Halves a plane until fewer than `unit` of its pixels make a unit.
pub(super) fn shrunk_below(plane: &Plane, unit: f32) -> Plane {
    let mut plane = plane.clone();
    while Frame::new(plane.width, plane.height).unit >= unit.max(2.0) {
        plane = resized(&plane.blurred(0.8), 0.5);
    }
    plane
}

/// Samples a plane anew so that unit coordinates keep their meaning.
fn resized(plane: &Plane, ratio: f32) -> Plane {
    let side = |length: usize| ((length as f32 * ratio).round() as usize).max(1);
    let (width, height) = (side(plane.width), side(plane.height));
    let (from, to) = (
        Frame::new(plane.width, plane.height),
        Frame::new(width, height),
    );
    Plane::from_fn(width, height, |x, y| {
        let (x, y) = from.to_pixel(to.to_unit((x as f32, y as f32)));
        plane.bilinear(x, y)
    })
}

fn normalised(plane: &Plane, sigma: f32) -> Plane {
    let centred = plane.zip(&plane.blurred(sigma), |value, mean| value - mean);
    let variance = centred.zip(&centred, |a, b| a * b).blurred(sigma);
    let overall = variance.data.iter().sum::<f32>() / variance.data.len() as f32;
    // The floor keeps flat regions from becoming amplified noise.
    centred.zip(&variance, |value, local| {
        value / (local + 0.1 * overall + 1e-6).sqrt()
    })
}

/// Where the canonical face lies in an image that shows one face, roughly centred.
pub(super) fn locate(image: &Features) -> Fit {
    let mut best = Fit {
        pose: Similarity::IDENTITY,
        correlation: f32::NEG_INFINITY,
    };
    let target = Target::sample(&TEMPLATE, &Similarity::IDENTITY, LEVELS[0]);
    for pose in candidates() {
        let correlation = target.correlation(&image.levels[0], &pose) - improbability(&pose);
        if correlation > best.correlation {
            best = Fit { pose, correlation };
        }
    }
    let target = Target::sample(&TEMPLATE, &Similarity::IDENTITY, LEVELS[1]);
    climb(&target, &image.levels[1], best.pose, improbability)
}

/// Aligns `image` to `reference`, whose face has the pose `reference_pose`, starting from a first guess of its own pose.
/// The result maps the canonical face so that both images show the same parts at the same canonical points.
pub(super) fn align(
    reference: &Features,
    reference_pose: &Similarity,
    image: &Features,
    guess: Similarity,
) -> Fit {
    let mut fit = Fit {
        pose: guess,
        correlation: 0.0,
    };
    for (level, unit) in LEVELS.iter().enumerate().skip(1) {
        let target = Target::sample(&reference.levels[level], reference_pose, *unit);
        fit = climb(&target, &image.levels[level], fit.pose, |_| 0.0);
    }
    fit
}

fn candidates() -> impl Iterator<Item = Similarity> {
    let shifts = || {
        SHIFTS
            .into_iter()
            .flat_map(|tx| SHIFTS.into_iter().map(move |ty| (tx, ty)))
    };
    let turns = move || {
        ANGLES_DEGREES
            .into_iter()
            .flat_map(move |angle| shifts().map(move |shift| (angle, shift)))
    };
    SCALES.into_iter().flat_map(move |scale| {
        turns().map(move |(angle, (tx, ty))| Similarity::new(scale, angle.to_radians(), tx, ty))
    })
}

fn improbability(pose: &Similarity) -> f32 {
    let scale = pose.scale().ln() / PRIOR.0;
    let angle = pose.angle().to_degrees() / PRIOR.1;
    let shift = pose.tx.hypot(pose.ty) / PRIOR.2;
    PRIOR_WEIGHT * (scale * scale + angle * angle + shift * shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The template with some asymmetric structure, seen under a pose.
    fn picture(width: usize, height: usize, pose: &Similarity) -> Plane {
        let (frame, back) = (Frame::new(width, height), pose.inverse());
        let template = Frame::new(face::TEMPLATE.width, face::TEMPLATE.height);
        Plane::from_fn(width, height, |x, y| {
            let point = back.apply(frame.to_unit((x as f32, y as f32)));
            let (u, v) = template.to_pixel(point);
            128.0
                + 60.0 * face::TEMPLATE.bilinear(u, v)
                + 8.0 * (23.0 * point.0 + 4.0).sin() * (19.0 * point.1).cos()
        })
    }

    fn assert_near(
        found: &Similarity,
        expected: &Similarity,
        shift: f32,
        scale: f32,
        degrees: f32,
    ) {
        assert!(
            (found.scale() / expected.scale()).ln().abs() < scale,
            "{found:?} {expected:?}"
        );
        assert!(
            (found.angle() - expected.angle()).to_degrees().abs() < degrees,
            "{found:?} {expected:?}"
        );
        assert!(
            (found.tx - expected.tx).hypot(found.ty - expected.ty) < shift,
            "{found:?} {expected:?}"
        );
    }

    #[test]
    fn locates_a_moved_face_within_two_percent_and_two_degrees() {
        for (scale, degrees, tx, ty) in [
            (1.0, 0.0, 0.0, 0.0),
            (0.85, 10.0, 0.06, -0.05),
            (1.15, -12.0, -0.05, 0.04),
        ] {
            let pose = Similarity::new(scale, f32::to_radians(degrees), tx, ty);
            let fit = locate(&Features::of(&picture(180, 200, &pose)));
            assert_near(&fit.pose, &pose, 0.02, 0.03, 2.0);
            assert!(fit.correlation > 0.8, "{fit:?}");
        }
    }

    #[test]
    fn aligns_two_images_within_half_a_percent() {
        let first = Similarity::new(0.95, 0.05, 0.01, 0.02);
        let second = Similarity::new(1.1, -0.12, -0.04, 0.03);
        let reference = Features::of(&picture(160, 160, &first));
        let fit = align(
            &reference,
            &first,
            &Features::of(&picture(120, 140, &second)),
            Similarity::new(1.0, 0.0, 0.0, 0.0),
        );
        assert_near(&fit.pose, &second, 0.005, 0.005, 0.4);
        assert!(fit.correlation > 0.97, "{fit:?}");
    }

    #[test]
    fn light_does_not_move_the_fit() {
        let pose = Similarity::new(1.05, 0.1, 0.02, 0.0);
        let plain = picture(150, 150, &pose);
        let lit = Plane::from_fn(150, 150, |x, y| {
            0.4 * plain.at(x as isize, y as isize) + 0.5 * x as f32
        });
        assert_near(
            &locate(&Features::of(&lit)).pose,
            &locate(&Features::of(&plain)).pose,
            0.02,
            0.02,
            1.5,
        );
    }

    #[test]
    fn a_flat_image_correlates_with_nothing() {
        let fit = locate(&Features::of(&Plane::from_fn(40, 40, |_, _| 90.0)));
        assert!(
            fit.correlation.abs() < 1e-3 && fit.pose.scale() > 0.5,
            "{fit:?}"
        );
    }

    #[test]
    fn survives_tiny_images() {
        for (width, height) in [(1, 1), (2, 30), (9, 5)] {
            let fit = locate(&Features::of(&Plane::from_fn(width, height, |x, y| {
                (x * 40 + y * 9) as f32
            })));
            assert!(fit.correlation.is_finite());
        }
    }
}
