//! From head units to pixels: a face is wrapped on an ellipsoid, turned, and projected without perspective.

use super::canvas::Point;
use crate::studio::scene::Pose;

/// The projection of one pose into a picture of one size.
pub(crate) struct View {
    /// Pixels per head unit.
    pub(crate) scale: f32,
    centre: Point,
    yaw: (f32, f32),
    pitch: (f32, f32),
    pub(crate) roll: f32,
    turn: (f32, f32),
}

impl View {
    pub(crate) fn new(pose: &Pose, size: usize) -> Self {
        let size = size as f32;
        Self {
            scale: pose.scale * size,
            centre: ((0.5 + pose.shift.0) * size, (0.52 + pose.shift.1) * size),
            yaw: pose.yaw.sin_cos(),
            pitch: pose.pitch.sin_cos(),
            roll: pose.roll,
            turn: pose.roll.sin_cos(),
        }
    }

    /// A point on the face's surface.
    pub(crate) fn face(&self, x: f32, y: f32) -> Point {
        self.solid(x, y, surface(x, y))
    }

    /// A point at a given depth, positive towards the camera.
    pub(crate) fn solid(&self, x: f32, y: f32, depth: f32) -> Point {
        let across = x * self.yaw.1 + depth * self.yaw.0;
        let down = y * self.pitch.1 + depth * self.pitch.0;
        // The head turns on the neck, which is below its centre.
        let (right, below) = (across, down - NECK);
        (
            self.centre.0 + self.scale * (right * self.turn.1 - below * self.turn.0),
            self.centre.1 + self.scale * (NECK + below * self.turn.1 + right * self.turn.0),
        )
    }

    /// A point of the body, which does not turn with the head.
    pub(crate) fn body(&self, x: f32, y: f32) -> Point {
        (
            self.centre.0 + self.scale * x,
            self.centre.1 + self.scale * y,
        )
    }

    /// The place on the face, in head units, that a pixel shows (near enough for shading).
    pub(crate) fn unproject(&self, x: f32, y: f32) -> Point {
        let (dx, dy) = (
            (x - self.centre.0) / self.scale,
            (y - self.centre.1) / self.scale - NECK,
        );
        let across = dx * self.turn.1 + dy * self.turn.0;
        let down = dy * self.turn.1 - dx * self.turn.0 + NECK;
        let depth = surface(across, down);
        (across - depth * self.yaw.0, down - depth * self.pitch.0)
    }

    /// A length in pixels.
    pub(crate) fn px(&self, units: f32) -> f32 {
        units * self.scale
    }
}

/// Where the head turns, in head units below its centre.
const NECK: f32 = 0.9;

/// Height of the face's surface above the plane of its outline.
fn surface(x: f32, y: f32) -> f32 {
    0.58 * (1.0 - (x / 0.8).powi(2) - 0.35 * y * y).max(0.0).sqrt()
}

/// A smooth line through points (Catmull-Rom), with `steps` pieces between two of them.
pub(crate) fn open_curve(points: &[Point], steps: usize) -> Vec<Point> {
    let Some(last) = points.len().checked_sub(1) else {
        return Vec::new();
    };
    let at = |index: isize| points[index.clamp(0, last as isize) as usize];
    let mut curve: Vec<Point> = (0..last as isize)
        .flat_map(|index| (0..steps).map(move |step| (index, step as f32 / steps as f32)))
        .map(|(index, share)| {
            between(
                [at(index - 1), at(index), at(index + 1), at(index + 2)],
                share,
            )
        })
        .collect();
    curve.push(points[last]);
    curve
}

/// The same, closed.
pub(crate) fn closed_curve(points: &[Point], steps: usize) -> Vec<Point> {
    let count = points.len();
    (0..count)
        .flat_map(|index| (0..steps).map(move |step| (index, step as f32 / steps as f32)))
        .map(|(index, share)| {
            between(
                [0, 1, 2, 3].map(|offset| points[(index + count - 1 + offset) % count]),
                share,
            )
        })
        .collect()
}

fn between(points: [Point; 4], t: f32) -> Point {
    let blend = |a: f32, b: f32, c: f32, d: f32| {
        0.5 * (2.0 * b
            + (c - a) * t
            + (2.0 * a - 5.0 * b + 4.0 * c - d) * t * t
            + (3.0 * b - a - 3.0 * c + d) * t * t * t)
    };
    let [a, b, c, d] = points;
    (blend(a.0, b.0, c.0, d.0), blend(a.1, b.1, c.1, d.1))
}

/// The half on the right of the picture, mirrored to the left: from bottom left over the top to bottom right.
pub(crate) fn mirrored(right: &[Point]) -> Vec<Point> {
    let left = right
        .iter()
        .filter(|point| point.0.abs() > 1e-4)
        .map(|&(x, y)| (-x, y));
    left.chain(right.iter().rev().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_pass_through_their_points() {
        let points = [(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)];
        let curve = open_curve(&points, 4);
        assert_eq!(curve.len(), 9);
        for (index, point) in points.iter().enumerate() {
            assert!(
                (curve[4 * index].0 - point.0).abs() < 1e-5
                    && (curve[4 * index].1 - point.1).abs() < 1e-5
            );
        }
        assert_eq!(closed_curve(&points, 5).len(), 15);
    }

    #[test]
    fn unprojecting_undoes_the_projection() {
        let view = View::new(&Pose::sample(4), 128);
        for (x, y) in [(0.0, 0.0), (0.3, -0.2), (-0.4, 0.5)] {
            let (px, py) = view.face(x, y);
            let (u, v) = view.unproject(px, py);
            assert!(
                (u - x).abs() < 0.06 && (v - y).abs() < 0.06,
                "{x},{y} -> {u},{v}"
            );
        }
    }
}
