//! A plane of `f32` samples and the few operations on it that registration and blending share.
//!
//! Sample centres lie at integer coordinates. Reads outside a plane repeat its border.

/// A row-major plane of `width * height` samples, in grey levels (0 to 255) unless a function says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plane {
    /// Columns, at least 1.
    pub(super) width: usize,
    /// Rows, at least 1.
    pub(super) height: usize,
    /// The samples.
    pub(super) data: Vec<f32>,
}

impl Plane {
    /// A plane whose sample at column x and row y is `value(x, y)`.
    pub(super) fn from_fn(
        width: usize,
        height: usize,
        mut value: impl FnMut(usize, usize) -> f32,
    ) -> Self {
        let mut data = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                data.push(value(x, y));
            }
        }
        Self {
            width,
            height,
            data,
        }
    }

    /// Applies `f` to pairs of samples of two planes of one size.
    pub(super) fn zip(&self, other: &Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let data = self
            .data
            .iter()
            .zip(&other.data)
            .map(|(a, b)| f(*a, *b))
            .collect();
        Self {
            width: self.width,
            height: self.height,
            data,
        }
    }

    /// The sample at a column and row, clamped into the plane.
    pub(super) fn at(&self, x: isize, y: isize) -> f32 {
        let column = x.clamp(0, self.width as isize - 1) as usize;
        let row = y.clamp(0, self.height as isize - 1) as usize;
        self.data[row * self.width + column]
    }

    /// Bilinear interpolation.
    pub(super) fn bilinear(&self, x: f32, y: f32) -> f32 {
        let x = x.clamp(0.0, (self.width - 1) as f32);
        let y = y.clamp(0.0, (self.height - 1) as f32);
        let (x0, y0) = (x as usize, y as usize);
        let (x1, y1) = ((x0 + 1).min(self.width - 1), (y0 + 1).min(self.height - 1));
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let (top, bottom) = (y0 * self.width, y1 * self.width);
        let upper = self.data[top + x0] + fx * (self.data[top + x1] - self.data[top + x0]);
        let lower = self.data[bottom + x0] + fx * (self.data[bottom + x1] - self.data[bottom + x0]);
        upper + fy * (lower - upper)
    }

    /// Cubic convolution with a = -0.5 (Keys 1981), which keeps the sharpness that bilinear interpolation loses.
    pub(super) fn bicubic(&self, x: f32, y: f32) -> f32 {
        let (x0, y0) = (x.floor(), y.floor());
        let (wx, wy) = (keys_weights(x - x0), keys_weights(y - y0));
        let (x0, y0) = (x0 as isize, y0 as isize);
        let mut sum = 0.0;
        for (j, row_weight) in (-1..).zip(wy) {
            for (i, column_weight) in (-1..).zip(wx) {
                sum += row_weight * column_weight * self.at(x0 + i, y0 + j);
            }
        }
        sum
    }

    /// The plane mirrored left to right.
    pub(super) fn mirrored(&self) -> Self {
        Self::from_fn(self.width, self.height, |x, y| {
            self.data[y * self.width + self.width - 1 - x]
        })
    }

    /// Gaussian blur with the standard deviation `sigma` in samples, separable, cut at three sigma.
    pub(super) fn blurred(&self, sigma: f32) -> Self {
        let radius = (3.0 * sigma).ceil().max(1.0) as isize;
        let mut kernel: Vec<f32> = (-radius..=radius)
            .map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp())
            .collect();
        let total: f32 = kernel.iter().sum();
        kernel.iter_mut().for_each(|weight| *weight /= total);
        self.filtered_rows(&kernel)
            .transposed()
            .filtered_rows(&kernel)
            .transposed()
    }

    /// Correlates each row with an odd kernel, the border repeated.
    pub(super) fn filtered_rows(&self, kernel: &[f32]) -> Self {
        let radius = kernel.len() / 2;
        let mut padded = vec![0.0; self.width + 2 * radius];
        let mut data = Vec::with_capacity(self.data.len());
        for row in self.data.chunks_exact(self.width) {
            padded[..radius].fill(row[0]);
            padded[radius..radius + self.width].copy_from_slice(row);
            padded[radius + self.width..].fill(row[self.width - 1]);
            let windows = padded.windows(kernel.len());
            data.extend(
                windows.map(|window| window.iter().zip(kernel).map(|(a, b)| a * b).sum::<f32>()),
            );
        }
        Self {
            width: self.width,
            height: self.height,
            data,
        }
    }

    /// Rows become columns.
    pub(super) fn transposed(&self) -> Self {
        Self::from_fn(self.height, self.width, |x, y| {
            self.data[x * self.width + y]
        })
    }
}

/// The four weights of Keys' kernel for a fraction in [0, 1).
fn keys_weights(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [
        -0.5 * t3 + t2 - 0.5 * t,
        1.5 * t3 - 2.5 * t2 + 1.0,
        -1.5 * t3 + 2.0 * t2 + 0.5 * t,
        0.5 * t3 - 0.5 * t2,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> Plane {
        Plane::from_fn(9, 7, |x, y| 2.0 * x as f32 + 3.0 * y as f32)
    }

    #[test]
    fn interpolation_is_exact_on_a_ramp() {
        let plane = ramp();
        assert!((plane.bilinear(3.25, 2.5) - 14.0).abs() < 1e-4);
        assert!((plane.bicubic(3.25, 2.5) - 14.0).abs() < 1e-4);
    }

    #[test]
    fn interpolation_outside_repeats_the_border() {
        let plane = ramp();
        assert_eq!(plane.bilinear(-5.0, 40.0), plane.at(0, 6));
        assert!((plane.bicubic(30.0, -9.5) - plane.at(8, 0)).abs() < 1e-4);
    }

    #[test]
    fn blur_keeps_the_mean_and_spreads_an_impulse() {
        let impulse = Plane::from_fn(21, 21, |x, y| if (x, y) == (10, 10) { 1.0 } else { 0.0 });
        let blurred = impulse.blurred(1.5);
        assert!((blurred.data.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        assert!(blurred.at(10, 10) < 0.1 && blurred.at(12, 10) > 0.02);
        assert_eq!(blurred.at(8, 10), blurred.at(12, 10));
    }

    #[test]
    fn mirroring_twice_is_the_identity() {
        assert_eq!(ramp().mirrored().mirrored(), ramp());
        assert_ne!(ramp().mirrored(), ramp());
    }
}
