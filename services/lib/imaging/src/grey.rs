//! Pictures without colour, and luma as Pillow's `convert("L")` computes it.

use image::{GrayImage, Rgb, RgbImage};

/// ITU-R 601 luma in Pillow's fixed point: `(19595 R + 38470 G + 7471 B + 32768) >> 16`.
#[must_use]
pub fn grey(picture: &RgbImage) -> GrayImage {
    let mut luma = GrayImage::new(picture.width(), picture.height());
    for (level, rgb) in luma.iter_mut().zip(picture.chunks_exact(3)) {
        let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
        *level = ((19_595 * r + 38_470 * g + 7_471 * b + 32_768) >> 16) as u8;
    }
    luma
}

/// Whether red, green and blue are the same in every pixel.
#[must_use]
pub fn is_grey(picture: &RgbImage) -> bool {
    let mut pixels = picture.pixels();
    pixels.all(|Rgb([red, green, blue])| red == green && green == blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primaries_have_pillows_luma() {
        let picture =
            RgbImage::from_raw(4, 1, vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]).unwrap();
        assert_eq!(grey(&picture).into_raw(), [76, 150, 29, 255]);
    }

    #[test]
    fn one_pixel_of_colour_is_colour() {
        let mut picture = RgbImage::from_pixel(3, 2, Rgb([7; 3]));
        assert!(is_grey(&picture));
        for channel in 0..3 {
            let mut coloured = Rgb([7; 3]);
            coloured.0[channel] = 8;
            picture.put_pixel(2, 1, coloured);
            assert!(!is_grey(&picture));
        }
    }
}
