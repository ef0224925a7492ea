//! The canonical face: where eyes, nose and mouth of a centred face crop lie, and a synthetic picture of it.
//!
//! No landmark model is needed: face crops from a detector agree closely in framing, and [`super::register`] refines
//! the rest by fitting the picture drawn here, a few Gaussian blobs shaped like a mean face.

use std::sync::LazyLock;

use super::plane::Plane;

/// Rows and columns of [`TEMPLATE`].
const TEMPLATE_SIDE: usize = 64;

/// A blob of the template: centre and standard deviations in units, and its brightness.
struct Blob(f32, f32, f32, f32, f32);

/// Left half and middle of the face; blobs off the middle are repeated on the right.
const BLOBS: [Blob; 9] = [
    Blob(-0.165, -0.135, 0.060, 0.030, -1.00), // eye
    Blob(-0.170, -0.200, 0.085, 0.025, -0.55), // eyebrow
    Blob(0.000, -0.040, 0.030, 0.110, 0.45),   // bridge of the nose
    Blob(0.000, 0.130, 0.085, 0.024, -0.60),   // shadow under the nose
    Blob(0.000, 0.285, 0.105, 0.028, -0.70),   // mouth
    Blob(0.000, 0.360, 0.080, 0.025, 0.25),    // chin
    Blob(-0.190, 0.040, 0.080, 0.070, 0.35),   // cheek
    Blob(0.000, -0.330, 0.200, 0.060, 0.30),   // forehead
    Blob(-0.075, 0.120, 0.020, 0.030, -0.25),  // wing of the nose
];

/// The template in unit coordinates, brightness without a unit.
pub(super) static TEMPLATE: LazyLock<Plane> = LazyLock::new(|| {
    let middle = (TEMPLATE_SIDE - 1) as f32 / 2.0;
    let unit = |i: usize| (i as f32 - middle) / TEMPLATE_SIDE as f32;
    Plane::from_fn(TEMPLATE_SIDE, TEMPLATE_SIDE, |column, row| {
        brightness(unit(column), unit(row))
    })
});

fn brightness(x: f32, y: f32) -> f32 {
    let outline = (x / 0.37).powi(2) + ((y - 0.02) / 0.54).powi(2);
    let skin = 1.0 / (1.0 + (8.0 * (outline - 1.0)).exp());
    BLOBS.iter().fold(skin, |sum, blob| {
        sum + blob.at(x, y) + if blob.0 == 0.0 { 0.0 } else { blob.at(-x, y) }
    })
}

impl Blob {
    fn at(&self, x: f32, y: f32) -> f32 {
        let Self(cx, cy, sx, sy, brightness) = *self;
        brightness * (-0.5 * (((x - cx) / sx).powi(2) + ((y - cy) / sy).powi(2))).exp()
    }
}

/// How much a point of the canonical face counts when two faces are compared: 1 inside, falling to 0 at its outline.
/// The mouth counts less, because it is what differs between expressions.
pub(super) fn weight((x, y): (f32, f32)) -> f32 {
    let outline = (x / 0.36).powi(2) + ((y - 0.02) / 0.46).powi(2);
    let mouth = (x / 0.18).powi(2) + ((y - 0.29) / 0.10).powi(2);
    let inside = ((1.0 - outline) * 3.0).clamp(0.0, 1.0);
    if mouth < 1.0 { 0.5 * inside } else { inside }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_symmetric_with_dark_eyes_and_mouth() {
        assert_eq!(TEMPLATE.mirrored().data.len(), TEMPLATE.data.len());
        let flipped = TEMPLATE.mirrored();
        assert!(
            TEMPLATE
                .data
                .iter()
                .zip(&flipped.data)
                .all(|(a, b)| (a - b).abs() < 1e-4)
        );
        let cheek = brightness(-0.19, 0.04);
        assert!(brightness(-0.165, -0.135) < cheek - 0.5 && brightness(0.0, 0.285) < cheek - 0.5);
        assert!(brightness(0.49, 0.49) < 0.1);
    }

    #[test]
    fn weights_vanish_off_the_face() {
        assert_eq!(weight((0.45, 0.0)), 0.0);
        assert_eq!(weight((0.0, 0.0)), 1.0);
        assert!(weight((0.0, 0.29)) < weight((0.0, 0.1)));
    }
}
