//! Variance of the Laplacian, the usual measure of blur.

use image::GrayImage;

/// `cv2.Laplacian(grey, CV_64F).var()`: kernel `[0 1 0; 1 -4 1; 0 1 0]`, border reflected without repeating the edge,
/// population variance. It depends on scale: compare only values measured at one size. 0 for an empty picture.
#[must_use]
pub fn laplacian_variance(picture: &GrayImage) -> f64 {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if width == 0 || height == 0 {
        return 0.0;
    }
    let pixels = picture.as_raw();
    let row = |y: usize| &pixels[y * width..(y + 1) * width];
    // Sums of 8-bit Laplacians (at most 1,020 each) are exact in 64-bit integers.
    let (mut sum, mut squares) = (0_i64, 0_i64);
    for y in 0..height {
        let (above, middle, below) = (row(before(y, height)), row(y), row(after(y, height)));
        for x in 0..width {
            let beside = i64::from(middle[before(x, width)]) + i64::from(middle[after(x, width)]);
            let value =
                i64::from(above[x]) + i64::from(below[x]) + beside - 4 * i64::from(middle[x]);
            sum += value;
            squares += value * value;
        }
    }
    let count = (width * height) as f64;
    let mean = sum as f64 / count;
    squares as f64 / count - mean * mean
}

fn before(at: usize, length: usize) -> usize {
    if at == 0 { 1.min(length - 1) } else { at - 1 }
}

fn after(at: usize, length: usize) -> usize {
    if at + 1 == length {
        length.saturating_sub(2)
    } else {
        at + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;

    #[test]
    fn flat_pictures_have_none_and_one_pixel_is_no_trouble() {
        assert_eq!(
            laplacian_variance(&GrayImage::from_pixel(5, 4, Luma([9]))),
            0.0
        );
        assert_eq!(laplacian_variance(&GrayImage::new(1, 1)), 0.0);
        assert_eq!(laplacian_variance(&GrayImage::new(0, 0)), 0.0);
    }
}
