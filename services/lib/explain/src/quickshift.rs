//! Regions of a picture by quick shift (Vedaldi and Soatto 2008), as scikit-image's `quickshift` with `convert2lab` and no smoothing.
//!
//! Each pixel is joined to the nearest of higher density. scikit-image breaks ties of density with noise of 1e-5; here the
//! later pixel counts as denser, so that plain areas become one region and the same picture gives the same regions.

use image::{Rgb, RgbImage};

/// The region of each pixel, row by row: 0, 1, ... in the order of their densest pixels.
///
/// `kernel_size` is the Gaussian's deviation in pixels, `max_distance` the farthest that pixels are joined over, `ratio` the
/// weight of colour (CIELAB) beside position.
#[must_use]
pub fn quickshift(
    picture: &RgbImage,
    kernel_size: f64,
    max_distance: f64,
    ratio: f64,
) -> Vec<usize> {
    let field = Field {
        width: picture.width() as usize,
        height: picture.height() as usize,
        colours: picture
            .pixels()
            .map(|pixel| lab(pixel).map(|value| value * ratio))
            .collect(),
        reach: (3.0 * kernel_size).ceil() as usize,
    };
    let pixels = 0..field.colours.len();
    let factor = -0.5 / (kernel_size * kernel_size);
    let density = |pixel| {
        let near = field.near(pixel);
        near.map(|(_, square)| (square * factor).exp()).sum::<f64>()
    };
    let densities: Vec<f64> = pixels.clone().map(density).collect();
    let parent = |pixel: usize| {
        let rank = |pixel: usize| (densities.get(pixel).copied().unwrap_or(0.0), pixel);
        let own = rank(pixel);
        let denser = field
            .near(pixel)
            .filter(|&(other, _)| rank(other) > own)
            .min_by(|a, b| a.1.total_cmp(&b.1));
        denser
            .filter(|(_, square)| square.sqrt() <= max_distance)
            .map_or(pixel, |(other, _)| other)
    };
    roots(pixels.map(parent).collect())
}

struct Field {
    width: usize,
    height: usize,
    /// CIELAB, scaled.
    colours: Vec<[f64; 3]>,
    /// Of the window, in pixels each way.
    reach: usize,
}

impl Field {
    /// The pixels of the window around `pixel`, itself too, row by row, each with its squared distance in place and colour.
    fn near(&self, pixel: usize) -> impl Iterator<Item = (usize, f64)> {
        let (row, column) = (pixel / self.width, pixel % self.width);
        let span =
            |at: usize, end: usize| at.saturating_sub(self.reach)..end.min(at + self.reach + 1);
        let columns = span(column, self.width);
        let centre = self.colours.get(pixel).copied().unwrap_or_default();
        span(row, self.height).flat_map(move |other_row| {
            let start = other_row * self.width;
            let rows = (row.abs_diff(other_row) as f64).powi(2);
            let colours = self.colours.get(start + columns.start..start + columns.end);
            let indexed = columns.clone().zip(colours.unwrap_or_default());
            indexed.map(move |(other_column, colour)| {
                let mut square = rows + (column.abs_diff(other_column) as f64).powi(2);
                for (a, b) in centre.iter().zip(colour) {
                    square += (a - b).powi(2);
                }
                (start + other_column, square)
            })
        })
    }
}

/// Follows parents to the roots, and numbers those from 0.
fn roots(mut parents: Vec<usize>) -> Vec<usize> {
    loop {
        let next: Vec<usize> = parents
            .iter()
            .map(|&parent| parents.get(parent).copied().unwrap_or(parent))
            .collect();
        if next == parents {
            break;
        }
        parents = next;
    }
    let mut found = parents.clone();
    found.sort_unstable();
    found.dedup();
    let number = |root: usize| found.binary_search(&root).unwrap_or_default();
    parents.into_iter().map(number).collect()
}

/// sRGB to CIELAB under D65, seen at 2 degrees, with scikit-image's constants.
fn lab(pixel: &Rgb<u8>) -> [f64; 3] {
    let [red, green, blue] = pixel.0.map(|level| {
        let level = f64::from(level) / 255.0;
        if level > 0.04045 {
            ((level + 0.055) / 1.055).powf(2.4)
        } else {
            level / 12.92
        }
    });
    let [x, y, z] = [
        (0.412453 * red + 0.357580 * green + 0.180423 * blue) / 0.95047,
        0.212671 * red + 0.715160 * green + 0.072169 * blue,
        (0.019334 * red + 0.119193 * green + 0.950227 * blue) / 1.08883,
    ]
    .map(|value| {
        if value > 0.008856 {
            value.cbrt()
        } else {
            7.787 * value + 16.0 / 116.0
        }
    });
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_areas_are_one_region_each() {
        let picture = RgbImage::from_fn(20, 9, |x, _| match x {
            0..10 => Rgb([250, 250, 250]),
            _ => Rgb([20, 40, 90]),
        });
        let regions = quickshift(&picture, 4.0, 50.0, 2.0);
        for (index, &region) in regions.iter().enumerate() {
            assert_eq!(region, usize::from(index % 20 >= 10));
        }
        assert_eq!(quickshift(&RgbImage::new(1, 1), 4.0, 200.0, 0.2), [0]);
        assert!(quickshift(&RgbImage::new(0, 0), 4.0, 200.0, 0.2).is_empty());
    }

    #[test]
    fn white_is_the_white_of_lab() {
        let [lightness, a, b] = lab(&Rgb([255, 255, 255]));
        assert!((lightness - 100.0).abs() < 1e-3 && a.abs() < 1e-2 && b.abs() < 2e-2);
    }
}
