//! Similarity transforms of the plane, and the coordinates they act on.
//!
//! Faces are compared in *unit coordinates*: the origin is the image's centre, x grows to the right, y downwards, and 1
//! is the geometric mean of width and height. A pose then is nearly the identity for a centred face at any size.

/// `(x, y) -> (a x - b y + tx, b x + a y + ty)`: rotation, uniform scale and translation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Similarity {
    /// Scale times the cosine of the angle.
    pub(super) a: f32,
    /// Scale times the sine of the angle.
    pub(super) b: f32,
    /// Shift to the right, in units.
    pub(super) tx: f32,
    /// Shift downwards, in units.
    pub(super) ty: f32,
}

impl Similarity {
    /// Leaves every point where it is.
    pub(super) const IDENTITY: Self = Self {
        a: 1.0,
        b: 0.0,
        tx: 0.0,
        ty: 0.0,
    };

    /// A positive scale, an angle in radians (clockwise on the screen) and a shift in units.
    pub(super) fn new(scale: f32, angle: f32, tx: f32, ty: f32) -> Self {
        Self {
            a: scale * angle.cos(),
            b: scale * angle.sin(),
            tx,
            ty,
        }
    }

    /// The image of a point.
    pub(super) fn apply(&self, (x, y): (f32, f32)) -> (f32, f32) {
        (
            self.a * x - self.b * y + self.tx,
            self.b * x + self.a * y + self.ty,
        )
    }

    /// First `inner`, then `self`.
    pub(super) fn after(&self, inner: &Self) -> Self {
        let (tx, ty) = self.apply((inner.tx, inner.ty));
        Self {
            a: self.a * inner.a - self.b * inner.b,
            b: self.a * inner.b + self.b * inner.a,
            tx,
            ty,
        }
    }

    /// The way back. Meaningless for a scale of zero.
    pub(super) fn inverse(&self) -> Self {
        let squared = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / squared, -self.b / squared);
        Self {
            a,
            b,
            tx: b * self.ty - a * self.tx,
            ty: -b * self.tx - a * self.ty,
        }
    }

    /// The same pose of the face seen in a mirror.
    pub(super) fn mirrored(&self) -> Self {
        Self {
            b: -self.b,
            tx: -self.tx,
            ..*self
        }
    }

    /// Magnification.
    pub(super) fn scale(&self) -> f32 {
        self.a.hypot(self.b)
    }

    /// Rotation in radians.
    pub(super) fn angle(&self) -> f32 {
        self.b.atan2(self.a)
    }
}

/// The unit coordinates of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frame {
    centre: (f32, f32),
    /// Pixels in a unit.
    pub(super) unit: f32,
}

impl Frame {
    /// The frame of an image of this size in pixels.
    pub(super) fn new(width: usize, height: usize) -> Self {
        let (width, height) = (width as f32, height as f32);
        Self {
            centre: ((width - 1.0) / 2.0, (height - 1.0) / 2.0),
            unit: (width * height).sqrt(),
        }
    }

    /// From units to pixels.
    pub(super) fn to_pixel(self, (x, y): (f32, f32)) -> (f32, f32) {
        (x * self.unit + self.centre.0, y * self.unit + self.centre.1)
    }

    /// From pixels to units.
    pub(super) fn to_unit(self, (x, y): (f32, f32)) -> (f32, f32) {
        (
            (x - self.centre.0) / self.unit,
            (y - self.centre.1) / self.unit,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near((ax, ay): (f32, f32), (bx, by): (f32, f32)) -> bool {
        (ax - bx).abs() < 1e-5 && (ay - by).abs() < 1e-5
    }

    #[test]
    fn inverse_and_composition_agree() {
        let (f, g) = (
            Similarity::new(1.3, 0.4, 0.2, -0.1),
            Similarity::new(0.7, -1.1, 0.05, 0.3),
        );
        let point = (0.31, -0.22);
        assert!(near(f.after(&g).apply(point), f.apply(g.apply(point))));
        assert!(near(f.inverse().apply(f.apply(point)), point));
        assert!((f.scale() - 1.3).abs() < 1e-6 && (f.angle() - 0.4).abs() < 1e-6);
    }

    #[test]
    fn mirroring_commutes_with_a_flip_of_both_sides() {
        let pose = Similarity::new(1.1, 0.2, 0.07, 0.02);
        let (x, y) = pose.apply((-0.3, 0.1));
        assert!(near(pose.mirrored().apply((0.3, 0.1)), (-x, y)));
    }

    #[test]
    fn frame_maps_the_centre_to_the_origin_and_back() {
        let frame = Frame::new(200, 50);
        assert!(near(frame.to_unit((99.5, 24.5)), (0.0, 0.0)));
        assert!(near(
            frame.to_unit(frame.to_pixel((0.25, -0.1))),
            (0.25, -0.1)
        ));
    }
}
