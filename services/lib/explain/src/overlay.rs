//! A map laid over its picture, as a PNG file.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};

use crate::{error::Result, heatmap::Heatmap};

/// How much of the picture stays visible under the strongest colour.
const OPACITY: f32 = 0.6;

/// Red where the map speaks for the class, blue where against, the picture where it says nothing; the strongest value in full
/// colour. Map and picture have one size.
pub fn overlay(picture: &RgbImage, map: &Heatmap) -> Result<Vec<u8>> {
    let most = map
        .values
        .iter()
        .fold(0.0f32, |most, value| most.max(value.abs()));
    let mut painted = picture.clone();
    for (pixel, &value) in painted.pixels_mut().zip(&map.values) {
        let strength = if most > 0.0 { value / most } else { 0.0 };
        let colour = match strength > 0.0 {
            true => [230.0, 30.0, 20.0],
            false => [20.0, 70.0, 230.0],
        };
        let opacity = OPACITY * strength.abs();
        let mixed = |(level, colour): (u8, f32)| {
            (f32::from(level) * (1.0 - opacity) + colour * opacity).round() as u8
        };
        let [red, green, blue] = pixel.0;
        let [r, g, b] = colour;
        *pixel = Rgb([mixed((red, r)), mixed((green, g)), mixed((blue, b))]);
    }
    let mut file = Cursor::new(Vec::new());
    painted.write_to(&mut file, ImageFormat::Png)?;
    Ok(file.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_is_red_against_is_blue_and_nothing_is_the_picture() {
        let picture = RgbImage::from_pixel(3, 1, Rgb([100, 100, 100]));
        let map = Heatmap {
            height: 1,
            width: 3,
            values: vec![0.5, 0.0, -0.25],
        };
        let painted = image::load_from_memory(&overlay(&picture, &map).unwrap()).unwrap();
        let pixels: Vec<[u8; 3]> = painted.to_rgb8().pixels().map(|pixel| pixel.0).collect();
        assert_eq!(pixels, [[178, 58, 52], [100, 100, 100], [76, 91, 139]]);
    }
}
