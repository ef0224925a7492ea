//! Random erasing (Zhong et al. 2020, <https://arxiv.org/abs/1708.04896>), with torchvision's defaults: a rectangle of 2 to 33 %
//! of the area, its sides in a ratio of 0.3 to 3.3, becomes middle grey.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// Smallest and largest share of the area.
const AREA: (f64, f64) = (0.02, 0.33);
/// Smallest and largest ratio of height to width.
const RATIO: (f64, f64) = (0.3, 3.3);
/// Rectangles that are tried until one fits.
const TRIES: u32 = 10;
/// Zero once pixel values are normalised.
const GREY: f32 = 0.5;

/// Erases a rectangle of an image `[3, side, side]`; none fits rarely, and nothing is then erased.
pub fn erase(image: &mut [f32], side: usize, random: &mut ChaCha8Rng) {
    let Some((width, height)) = (0..TRIES).find_map(|_| rectangle(side, random)) else {
        return;
    };
    let left = random.random_range(0..=side - width);
    let top = random.random_range(0..=side - height);
    for plane in image.chunks_exact_mut(side * side) {
        for row in plane.chunks_exact_mut(side).skip(top).take(height) {
            row.iter_mut()
                .skip(left)
                .take(width)
                .for_each(|value| *value = GREY);
        }
    }
}

/// Width and height of a rectangle, where it is smaller than the image.
fn rectangle(side: usize, random: &mut ChaCha8Rng) -> Option<(usize, usize)> {
    let area = (side * side) as f64 * random.random_range(AREA.0..=AREA.1);
    let ratio = random.random_range(RATIO.0.ln()..=RATIO.1.ln()).exp();
    let height = (area * ratio).sqrt().round() as usize;
    let width = (area / ratio).sqrt().round() as usize;
    (width < side && height < side).then_some((width, height))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn one_rectangle_in_all_channels_within_its_limits() {
        let side = 32;
        let mut random = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..100 {
            let mut image = vec![0.0; 3 * side * side];
            erase(&mut image, side, &mut random);
            let planes: Vec<&[f32]> = image.chunks_exact(side * side).collect();
            assert!(planes[0] == planes[1] && planes[1] == planes[2]);
            let gone = |index: &usize| planes[0][*index] == GREY;
            let places: Vec<usize> = (0..side * side).filter(gone).collect();
            let share = places.len() as f64 / (side * side) as f64;
            assert!((0.015..=0.36).contains(&share), "{share}");
            let columns = places.iter().map(|place| place % side);
            let (left, right) = (columns.clone().min().unwrap(), columns.max().unwrap());
            let (top, bottom) = (places[0] / side, places[places.len() - 1] / side);
            assert_eq!((right - left + 1) * (bottom - top + 1), places.len());
        }
    }
}
