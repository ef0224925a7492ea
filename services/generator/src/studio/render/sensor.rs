//! Exposure: colour cast, defocus, vignetting, and noise. The strong part of the noise belongs to the sensor, so it is
//! the same in a picture and in a faithful edit of it; a small part is new in every exposure.

use image::{Rgb, RgbImage};

use super::canvas::Canvas;
use crate::studio::rng::{derive, mix, standard};
use crate::studio::scene::{Camera, Light};

/// Exposes a painted scene.
pub(super) fn expose(mut canvas: Canvas, camera: &Camera, light: &Light) -> RgbImage {
    let size = canvas.size;
    for pixel in &mut canvas.pixels {
        for (value, tint) in pixel.iter_mut().zip(light.tint) {
            *value *= tint;
        }
    }
    smooth(&mut canvas.pixels, size, camera.defocus * size as f32);
    let (fixed, fresh) = (
        derive(camera.seed, "sensor"),
        derive(camera.exposure, "exposure"),
    );
    let side = size as f32;
    RgbImage::from_fn(size as u32, size as u32, |x, y| {
        let index = u64::from(y) * size as u64 + u64::from(x);
        let (dx, dy) = (x as f32 / side - 0.5, y as f32 / side - 0.5);
        let vignette = 1.0 - 0.22 * (dx * dx + dy * dy);
        let hash = mix(fixed ^ index);
        let noise = camera.grain * standard(hash) + camera.fresh * standard(mix(fresh ^ index));
        let colour = camera.grain * 0.25;
        let pixel = canvas.pixels[index as usize];
        Rgb([0, 1, 2].map(|channel| {
            let speck = colour * standard(mix(hash ^ (channel as u64 + 1)));
            // Tones are kept off the ends of the scale, where noise would be clipped away.
            let tone = 20.0 + pixel[channel] * vignette * (212.0 / 255.0);
            (tone + noise + speck).round().clamp(0.0, 255.0) as u8
        }))
    })
}

/// A picture after a Gaussian blur of `sigma` pixels.
pub(crate) fn blurred(picture: &RgbImage, sigma: f32) -> RgbImage {
    let size = picture.width() as usize;
    let mut pixels: Vec<[f32; 3]> = picture
        .pixels()
        .map(|pixel| pixel.0.map(f32::from))
        .collect();
    smooth(&mut pixels, size, sigma);
    let mut softened = picture.clone();
    for (target, value) in softened.pixels_mut().zip(pixels) {
        target.0 = value.map(|channel| channel.round().clamp(0.0, 255.0) as u8);
    }
    softened
}

/// Gaussian blur of `sigma` pixels in place; edges are extended.
fn smooth(pixels: &mut [[f32; 3]], width: usize, sigma: f32) {
    let radius = (2.5 * sigma).ceil() as isize;
    if sigma < 0.15 || width == 0 {
        return;
    }
    let weights: Vec<f32> = (-radius..=radius)
        .map(|offset| (-0.5 * (offset as f32 / sigma).powi(2)).exp())
        .collect();
    let total: f32 = weights.iter().sum();
    let height = pixels.len() / width;
    let pass =
        |source: &[[f32; 3]], target: &mut [[f32; 3]], count: usize, step: usize, start: usize| {
            for place in 0..count as isize {
                let mut sum = [0.0; 3];
                for (offset, weight) in (-radius..=radius).zip(&weights) {
                    let from = (place + offset).clamp(0, count as isize - 1) as usize;
                    for (part, value) in sum.iter_mut().zip(source[start + from * step]) {
                        *part += weight * value;
                    }
                }
                target[start + place as usize * step] = sum.map(|part| part / total);
            }
        };
    let mut rows = pixels.to_vec();
    for row in 0..height {
        pass(pixels, &mut rows, width, 1, row * width);
    }
    for column in 0..width {
        pass(&rows, pixels, height, width, column);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::{Scene, render};

    fn difference(first: &RgbImage, second: &RgbImage) -> f32 {
        let sum: f32 = first
            .pixels()
            .zip(second.pixels())
            .map(|(a, b)| f32::from(a.0[1].abs_diff(b.0[1])))
            .sum();
        sum / (first.width() * first.height()) as f32
    }

    #[test]
    fn sensor_noise_is_shared_and_exposure_noise_is_small() {
        let scene = Scene::sample(21);
        let (mut again, mut elsewhere) = (scene.clone(), scene.clone());
        again.camera.exposure += 1;
        elsewhere.camera.seed += 1;
        let first = render(&scene, 96);
        let (same, other) = (
            difference(&first, &render(&again, 96)),
            difference(&first, &render(&elsewhere, 96)),
        );
        assert!(same > 1.0 && other > 2.5 * same, "{same} {other}");
    }

    #[test]
    fn blurring_removes_detail_and_keeps_the_mean() {
        let picture = render(&Scene::sample(22), 96);
        let soft = blurred(&picture, 2.0);
        let mean = |image: &RgbImage| {
            image
                .pixels()
                .map(|pixel| f32::from(pixel.0[1]))
                .sum::<f32>()
                / (96.0 * 96.0)
        };
        assert!((mean(&picture) - mean(&soft)).abs() < 1.0);
        assert!(difference(&soft, &blurred(&soft, 2.0)) < difference(&picture, &soft));
    }
}
