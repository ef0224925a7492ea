//! Antialiased resizing, bit for bit as Pillow does it (`ImagingResample` of its Resample.c): the filter's support grows when
//! shrinking, weights are fixed-point numbers, and levels are rounded after each of the two passes.
//!
//! Resizers that keep only the bits of 16-bit arithmetic are a level off in three of a thousand pixels, which moves the logits
//! of a deep network by hundredths.

mod passes;
mod weights;

use image::{GrayImage, RgbImage, imageops};
use passes::across_and_down;
pub use weights::Filter;
use weights::stretches;

/// What is wanted of a resized picture, in pixels of it; it must lie within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Columns before it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

impl Part {
    /// All of a picture.
    fn whole((width, height): (u32, u32)) -> Self {
        Self {
            left: 0,
            top: 0,
            width,
            height,
        }
    }
}

/// Longest side that [`scaled_to_shorter`] gives, in shorter ones: what lies beyond does not pay.
const LONGEST: u32 = 4;

/// The size, width and height, at which the shorter side has `side` pixels and the longer one is in proportion, but at most four
/// times that.
#[must_use]
pub fn scaled_to_shorter((width, height): (u32, u32), side: u32) -> (u32, u32) {
    let (shorter, longer) = (width.min(height).max(1), width.max(height));
    let scaled = u64::from(longer) * u64::from(side) / u64::from(shorter);
    let longest = u64::from(side) * u64::from(LONGEST);
    let long = u32::try_from(scaled.clamp(1, longest)).unwrap_or(side);
    if width <= height {
        (side, long)
    } else {
        (long, side)
    }
}

/// Resizes to `width` x `height` pixels without keeping the aspect. A side of zero gives an empty picture.
///
/// Across first and then down, as in Pillow before version 13 (which chooses the order by size): what sharp filters overshoot
/// is clipped in between, so that at hard edges the order shows.
#[must_use]
pub fn resize(picture: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    let size = (width, height);
    resize_part(picture, size, Part::whole(size), filter)
}

/// What [`resize`] to `size`, width and height, has in `part`. Nothing else is computed: the strip that a long thin picture
/// becomes at a model's height may be a thousand times as large as what the model sees of it.
#[must_use]
pub fn resize_part(picture: &RgbImage, size: (u32, u32), part: Part, filter: Filter) -> RgbImage {
    if picture.dimensions() == size {
        return imageops::crop_imm(picture, part.left, part.top, part.width, part.height)
            .to_image();
    }
    let mut resized = RgbImage::new(part.width, part.height);
    resample(
        picture,
        picture.dimensions(),
        3,
        &mut resized,
        size,
        part,
        filter,
    );
    resized
}

/// [`resize`] for one channel.
#[must_use]
pub fn resize_grey(picture: &GrayImage, width: u32, height: u32, filter: Filter) -> GrayImage {
    let size = (width, height);
    if picture.dimensions() == size {
        return picture.clone();
    }
    let mut resized = GrayImage::new(width, height);
    resample(
        picture,
        picture.dimensions(),
        1,
        &mut resized,
        size,
        Part::whole(size),
        filter,
    );
    resized
}

/// Sizes are width and height; `from` and `to` have `channels` levels a pixel.
fn resample(
    from: &[u8],
    (width, height): (u32, u32),
    channels: usize,
    to: &mut [u8],
    (new_width, new_height): (u32, u32),
    part: Part,
    filter: Filter,
) {
    if from.is_empty() || to.is_empty() {
        return;
    }
    let columns = part.left..part.left + part.width;
    let columns = stretches(width, new_width, columns, filter);
    let rows = part.top..part.top + part.height;
    let rows = stretches(height, new_height, rows, filter);
    let stride = width as usize * channels;
    across_and_down(from, stride, channels, &columns, &rows, to);
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::GenericImageView as _;

    const FILTERS: [Filter; 3] = [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3];

    #[test]
    fn empty_sides_give_an_empty_picture() {
        let picture = RgbImage::new(4, 4);
        assert_eq!(resize(&picture, 0, 3, Filter::Bicubic).dimensions(), (0, 3));
        assert_eq!(
            resize(&RgbImage::new(0, 0), 2, 2, Filter::Bilinear).dimensions(),
            (2, 2)
        );
    }

    #[test]
    fn the_shorter_side_gets_the_length_asked_for() {
        assert_eq!(scaled_to_shorter((640, 480), 224), (298, 224));
        assert_eq!(scaled_to_shorter((48, 48), 224), (224, 224));
        assert_eq!(scaled_to_shorter((1, 16_384), 224), (224, 896));
        assert_eq!(scaled_to_shorter((16_384, 1), 224), (896, 224));
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let picture = GrayImage::from_fn(5, 3, |x, y| image::Luma([(x * 40 + y) as u8]));
        assert_eq!(resize_grey(&picture, 5, 3, Filter::Lanczos3), picture);
    }

    #[test]
    fn a_part_is_what_would_be_cut_from_the_whole() {
        let picture = RgbImage::from_fn(61, 47, |x, y| {
            image::Rgb([(x * 4) as u8, (y * 5) as u8, (x * y) as u8])
        });
        for size in [(150, 120), (23, 17), (61, 90), (90, 47), (61, 47)] {
            for filter in FILTERS {
                let part = Part {
                    left: 3,
                    top: 5,
                    width: size.0 - 10,
                    height: size.1 - 6,
                };
                let whole = resize(&picture, size.0, size.1, filter);
                let cut = whole.view(part.left, part.top, part.width, part.height);
                let found = resize_part(&picture, size, part, filter);
                assert_eq!(found, cut.to_image(), "{size:?}, {filter:?}");
            }
        }
    }

    #[test]
    fn channels_do_not_mix() {
        let grey = GrayImage::from_fn(40, 30, |x, y| image::Luma([(x * x + 7 * y) as u8]));
        let rgb = RgbImage::from_fn(40, 30, |x, y| {
            let level = grey.get_pixel(x, y).0[0];
            image::Rgb([level, 255 - level, level])
        });
        for (width, height) in [(17, 13), (90, 70), (40, 11), (1, 1)] {
            for filter in FILTERS {
                let found = resize(&rgb, width, height, filter);
                let expected = resize_grey(&grey, width, height, filter);
                for (found, expected) in found.pixels().zip(expected.pixels()) {
                    assert_eq!([found.0[0], found.0[2]], [expected.0[0]; 2]);
                }
            }
        }
    }

    #[test]
    fn white_stays_white_however_long_the_stretch() {
        let white = RgbImage::from_pixel(3_000, 2, image::Rgb([255; 3]));
        for filter in FILTERS {
            for (width, height) in [(1, 1), (7, 90), (4_000, 3)] {
                let found = resize(&white, width, height, filter);
                assert!(found.iter().all(|&level| level == 255), "{filter:?}");
            }
        }
    }

    #[test]
    fn the_middle_of_a_strip_costs_no_more_than_itself() {
        // The whole is 2.5 GB.
        let strip = RgbImage::new(16_384, 1);
        let part = Part {
            left: 8_191 * 224,
            top: 0,
            width: 224,
            height: 224,
        };
        let middle = resize_part(&strip, (16_384 * 224, 224), part, Filter::Bicubic);
        assert_eq!(middle.dimensions(), (224, 224));
    }
}
