//! Structural similarity as scikit-image's `structural_similarity` computes it by default.
//!
//! Wang, Bovik, Sheikh, Simoncelli: "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004,
//! with a 7x7 uniform window, sample covariance, K1 = 0.01, K2 = 0.03 and data range 255. The reference crops the 3
//! pixels at the border, so that only windows which lie wholly inside the image count: no padding is needed.
//!
//! Window sums of 8-bit pixels are exact in 32-bit integers, and they slide: a row enters, a row leaves. The quotient of a
//! window is taken in f32, 4e-7 from the reference at most, and their mean in f64.

use image::GrayImage;
use pulp::{Arch, NullaryFnOnce};

/// Side of the window in pixels, and the smallest side of an image.
pub const WINDOW: u32 = 7;

const SIDE: usize = WINDOW as usize;
const AREA: f64 = (SIDE * SIDE) as f64;

/// Why two images have no SSIM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SsimError {
    /// The images differ in size.
    #[error(
        "SSIM needs equal sizes, not {a_width}x{a_height} and {b_width}x{b_height}; resize one of them"
    )]
    SizesDiffer {
        /// Width of the first image.
        a_width: u32,
        /// Height of the first image.
        a_height: u32,
        /// Width of the second image.
        b_width: u32,
        /// Height of the second image.
        b_height: u32,
    },
    /// The window does not fit into the images.
    #[error("SSIM needs at least {WINDOW}x{WINDOW} pixels, not {width}x{height}")]
    TooSmall {
        /// Width of both images.
        width: u32,
        /// Height of both images.
        height: u32,
    },
}

/// Mean SSIM of two images of the same size: -1 to 1, and 1 for equal images.
///
/// # Errors
/// [`SsimError`] where the sizes differ or a side is shorter than [`WINDOW`].
pub fn ssim(a: &GrayImage, b: &GrayImage) -> Result<f64, SsimError> {
    let mut total = 0.0;
    let windows = over_rows(a, b, |row| total += sum(row))?;
    Ok(total / windows as f64)
}

/// [`ssim`], and that of every window, row by row, `(width - 6) x (height - 6)` of them: scikit-image's map (`full=True`)
/// without the border of 3 pixels that its mean leaves out too.
///
/// # Errors
/// As [`ssim`].
pub fn ssim_map(a: &GrayImage, b: &GrayImage) -> Result<(f64, Vec<f32>), SsimError> {
    let (mut total, mut map) = (0.0, Vec::new());
    let windows = over_rows(a, b, |row| {
        total += sum(row);
        map.extend_from_slice(row);
    })?;
    Ok((total / windows as f64, map))
}

/// Hands each row of windows to `take`; answers with their number.
fn over_rows(a: &GrayImage, b: &GrayImage, take: impl FnMut(&[f32])) -> Result<usize, SsimError> {
    Arch::new().dispatch(OverRows { a, b, take })
}

/// The arguments of [`over_rows`], which is compiled for each kind of vector unit, of which the processor's best is taken: what
/// is called below is inlined into it. A closure in its place would stay a function of its own, compiled for none of them: half
/// as fast.
struct OverRows<'a, Take> {
    a: &'a GrayImage,
    b: &'a GrayImage,
    take: Take,
}

impl<Take: FnMut(&[f32])> NullaryFnOnce for OverRows<'_, Take> {
    type Output = Result<usize, SsimError>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { a, b, mut take } = self;
        let (width, height) = a.dimensions();
        if a.dimensions() != b.dimensions() {
            let (b_width, b_height) = b.dimensions();
            return Err(SsimError::SizesDiffer {
                a_width: width,
                a_height: height,
                b_width,
                b_height,
            });
        }
        if width.min(height) < WINDOW {
            return Err(SsimError::TooSmall { width, height });
        }
        let stride = width as usize;
        let a: Vec<_> = a.as_raw().chunks_exact(stride).collect();
        let b: Vec<_> = b.as_raw().chunks_exact(stride).collect();
        let nothing = vec![0; stride];
        let mut rows = Rows::new(stride);
        for (y, (row_a, row_b)) in a.iter().zip(&b).enumerate() {
            let leaving = match y.checked_sub(SIDE) {
                Some(oldest) => [a[oldest], b[oldest]],
                None => [nothing.as_slice(); 2],
            };
            rows.slide([row_a, row_b], leaving);
            if y + 1 >= SIDE {
                rows.compute();
                take(&rows.values);
            }
        }
        Ok((a.len() - SIDE + 1) * (stride - SIDE + 1))
    }
}

/// Sums over the pixels of a window: of a, of b, of both squares added, and of the products.
struct Sums {
    a: Vec<i32>,
    b: Vec<i32>,
    squares: Vec<i32>,
    products: Vec<i32>,
}

impl Sums {
    fn new(length: usize) -> Self {
        let zeros = || vec![0; length];
        Self {
            a: zeros(),
            b: zeros(),
            squares: zeros(),
            products: zeros(),
        }
    }

    /// Of seven neighbours each.
    #[inline(always)]
    fn of_neighbours(&mut self, columns: &Self) {
        let pairs = [
            (&mut self.a, &columns.a),
            (&mut self.b, &columns.b),
            (&mut self.squares, &columns.squares),
            (&mut self.products, &columns.products),
        ];
        for (sums, columns) in pairs {
            for (sum, window) in sums.iter_mut().zip(columns.array_windows::<SIDE>()) {
                *sum = window.iter().sum();
            }
        }
    }
}

/// The rows of windows, one after another.
struct Rows {
    /// Over the window's rows, a column an entry.
    columns: Sums,
    windows: Sums,
    /// The SSIM of the windows whose lowest row was added last.
    values: Vec<f32>,
}

impl Rows {
    fn new(stride: usize) -> Self {
        let windows = stride - SIDE + 1;
        Self {
            columns: Sums::new(stride),
            windows: Sums::new(windows),
            values: vec![0.0; windows],
        }
    }

    #[inline(always)]
    fn slide(&mut self, entering: [&[u8]; 2], leaving: [&[u8]; 2]) {
        let Sums {
            a,
            b,
            squares,
            products,
        } = &mut self.columns;
        let sums = a.iter_mut().zip(b).zip(squares.iter_mut().zip(products));
        let entering = entering[0].iter().zip(entering[1]);
        let leaving = leaving[0].iter().zip(leaving[1]);
        for (((a, b), (squares, products)), (new, old)) in sums.zip(entering.zip(leaving)) {
            let [new_a, new_b, old_a, old_b] = [new.0, new.1, old.0, old.1].map(|&p| i32::from(p));
            *a += new_a - old_a;
            *b += new_b - old_b;
            *squares += new_a * new_a + new_b * new_b - old_a * old_a - old_b * old_b;
            *products += new_a * new_b - old_a * old_b;
        }
    }

    #[inline(always)]
    fn compute(&mut self) {
        self.windows.of_neighbours(&self.columns);
        let Sums {
            a,
            b,
            squares,
            products,
        } = &self.windows;
        let sums = a.iter().zip(b).zip(squares.iter().zip(products));
        for (value, ((&a, &b), (&squares, &products))) in self.values.iter_mut().zip(sums) {
            *value = window_ssim(a, b, squares, products);
        }
    }
}

/// In eight strands, which do not wait for each other.
#[inline(always)]
fn sum(values: &[f32]) -> f64 {
    let (whole, rest) = values.as_chunks::<8>();
    let mut strands = [0.0; 8];
    for chunk in whole {
        for (strand, &value) in strands.iter_mut().zip(chunk) {
            *strand += f64::from(value);
        }
    }
    let rest = rest.iter().map(|&value| f64::from(value));
    strands.into_iter().chain(rest).sum()
}

/// SSIM of one window from its sums. All terms are kept as integers scaled by NP^2 and NP (NP - 1), which cancel; the
/// largest, twice the product of two sums of 49 pixels, is 3.2e8.
#[inline(always)]
fn window_ssim(a: i32, b: i32, squares: i32, products: i32) -> f32 {
    const LUMA: f32 = (0.01 * 255.0 * 0.01 * 255.0 * AREA * AREA) as f32;
    const CONTRAST: f32 = (0.03 * 255.0 * 0.03 * 255.0 * AREA * (AREA - 1.0)) as f32;
    let area = AREA as i32;
    let means = a * b;
    let mean_squares = a * a + b * b;
    let covariance = area * products - means;
    let variances = area * squares - mean_squares;
    let above = ((2 * means) as f32 + LUMA) * ((2 * covariance) as f32 + CONTRAST);
    let below = (mean_squares as f32 + LUMA) * (variances as f32 + CONTRAST);
    above / below
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;

    #[test]
    fn equal_images_score_one_and_extremes_do_not_overflow() {
        let picture = GrayImage::from_fn(9, 8, |x, y| Luma([(x * 29 + y * 7) as u8]));
        assert!((ssim(&picture, &picture).unwrap() - 1.0).abs() < 1e-12);
        let checks = GrayImage::from_fn(16, 16, |x, y| {
            Luma([if (x + y) % 2 == 0 { 255 } else { 0 }])
        });
        let inverse = GrayImage::from_fn(16, 16, |x, y| {
            Luma([if (x + y) % 2 == 0 { 0 } else { 255 }])
        });
        assert!(ssim(&checks, &inverse).unwrap() < -0.9);
        let white = GrayImage::from_pixel(16, 16, Luma([255]));
        assert!((ssim(&white, &white).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn unequal_and_tiny_images_are_refused() {
        let small = GrayImage::new(6, 40);
        assert_eq!(
            ssim(&small, &small),
            Err(SsimError::TooSmall {
                width: 6,
                height: 40
            })
        );
        let error = ssim(&GrayImage::new(8, 9), &GrayImage::new(9, 8)).unwrap_err();
        assert!(matches!(
            error,
            SsimError::SizesDiffer {
                a_width: 8,
                b_width: 9,
                ..
            }
        ));
    }
}
