//! Antialiased resizing with Pillow's semantics: the filter's support grows when shrinking, and 8-bit results are
//! rounded after each of the two passes.

use fast_image_resize::{
    FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::{U8, U8x3},
};
use image::{GrayImage, RgbImage, imageops};

/// The interpolation, named as in Pillow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Triangle, support 1.
    Bilinear,
    /// Keys' cubic with a = -0.5, support 2.
    Bicubic,
    /// Windowed sinc with a = 3, support 3.
    Lanczos3,
}

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
    fn whole(width: u32, height: u32) -> Self {
        Self {
            left: 0,
            top: 0,
            width,
            height,
        }
    }
}

/// Resizes to `width` x `height` pixels without keeping the aspect. A side of zero gives an empty picture.
///
/// The two passes run one after the other, across and then down, as in Pillow before version 13 (which chooses the order
/// by size). The resizer alone would go down first, and what sharp filters overshoot is clipped in between: at hard
/// edges the order shows.
#[must_use]
pub fn resize(picture: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    part_alone(picture, (width, height), Part::whole(width, height), filter)
}

/// Pixels up to which a resized picture is made as a whole and then cut.
const WHOLE: u64 = 2048 * 2048;

/// What [`resize`] to `size`, width and height, has in `part`. Of a large picture nothing else is computed: the strip that a long
/// thin one becomes at a model's height may be a thousand times as large as what the model sees of it. That may be a level
/// off here and there, as weights are rounded to as many bits as the largest in the part leaves.
#[must_use]
pub fn resize_part(picture: &RgbImage, size: (u32, u32), part: Part, filter: Filter) -> RgbImage {
    if u64::from(size.0) * u64::from(size.1) > WHOLE {
        return part_alone(picture, size, part, filter);
    }
    let whole = resize(picture, size.0, size.1, filter);
    if part == Part::whole(size.0, size.1) {
        return whole;
    }
    imageops::crop_imm(&whole, part.left, part.top, part.width, part.height).to_image()
}

fn part_alone(picture: &RgbImage, size: (u32, u32), part: Part, filter: Filter) -> RgbImage {
    let mut resized = RgbImage::new(part.width, part.height);
    two_passes::<U8x3>(
        picture,
        picture.dimensions(),
        &mut resized,
        (size, part),
        filter,
    );
    resized
}

/// [`resize`] for one channel.
#[must_use]
pub fn resize_grey(picture: &GrayImage, width: u32, height: u32, filter: Filter) -> GrayImage {
    let mut resized = GrayImage::new(width, height);
    two_passes::<U8>(
        picture,
        picture.dimensions(),
        &mut resized,
        ((width, height), Part::whole(width, height)),
        filter,
    );
    resized
}

/// Across, then down; a pass along which nothing changes is left out. Sizes are width and height.
fn two_passes<P: PixelTrait>(
    from: &[u8],
    (width, height): (u32, u32),
    to: &mut [u8],
    ((new_width, new_height), part): ((u32, u32), Part),
    filter: Filter,
) {
    if from.is_empty() || to.is_empty() {
        return;
    }
    let (columns, rows) = (
        Window::of(width, new_width, part.left, part.width),
        Window::of(height, new_height, part.top, part.height),
    );
    if (width, width) == (new_width, part.width) {
        return convolve::<P>(from, (width, height), (columns, rows), to, filter);
    }
    let mut across = vec![0; part.width as usize * height as usize * P::size()];
    let all_rows = Window::all(height);
    convolve::<P>(
        from,
        (width, height),
        (columns, all_rows),
        &mut across,
        filter,
    );
    let all_columns = Window::all(part.width);
    convolve::<P>(
        &across,
        (part.width, height),
        (all_columns, rows),
        to,
        filter,
    );
}

/// Which stretch of a side becomes how many pixels.
#[derive(Clone, Copy)]
struct Window {
    start: f64,
    length: f64,
    pixels: u32,
}

impl Window {
    /// All of a side, as it is.
    fn all(side: u32) -> Self {
        Self::of(side, side, 0, side)
    }

    /// What becomes `pixels` from `start` on where `side` becomes `new` in all. Products first: they are exact, and so then
    /// is the whole of a side.
    fn of(side: u32, new: u32, start: u32, pixels: u32) -> Self {
        let (side, new) = (f64::from(side), f64::from(new));
        let start = side * f64::from(start) / new;
        Self {
            start,
            length: (side * f64::from(pixels) / new).min(side - start),
            pixels,
        }
    }
}

/// One pass, since at most one side differs; a copy where none does.
///
/// Typed pixels, because the resizer's untyped entry compiles its kernels for every pixel type there is.
#[allow(clippy::expect_used)]
fn convolve<P: PixelTrait>(
    from: &[u8],
    from_size: (u32, u32),
    (columns, rows): (Window, Window),
    to: &mut [u8],
    filter: Filter,
) {
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        // Catmull-Rom is Keys' cubic with a = -0.5.
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos3 => FilterType::Lanczos3,
    };
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(filter))
        .use_alpha(false)
        .crop(columns.start, rows.start, columns.length, rows.length);
    // The only errors are buffers of another size and a crop box outside the source; neither can be asked for here.
    let from = TypedImageRef::<P>::from_buffer(from_size.0, from_size.1, from)
        .expect("a buffer of that size");
    let mut to = TypedImage::<P>::from_buffer(columns.pixels, rows.pixels, to)
        .expect("a buffer of that size");
    Resizer::new()
        .resize_typed(&from, &mut to, &options)
        .expect("a part within the picture");
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::GenericImageView as _;

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
            for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3] {
                let part = Part {
                    left: 3,
                    top: 5,
                    width: size.0 - 10,
                    height: size.1 - 6,
                };
                let found = part_alone(&picture, size, part, filter);
                let whole = resize(&picture, size.0, size.1, filter);
                let cut = whole.view(part.left, part.top, part.width, part.height);
                assert_eq!(resize_part(&picture, size, part, filter), cut.to_image());
                let differences = found
                    .iter()
                    .zip(cut.to_image().iter())
                    .map(|(a, b)| a.abs_diff(*b))
                    .collect::<Vec<_>>();
                // Weights have as many bits as the largest of them leaves, which may lie outside the part.
                let sum: usize = differences.iter().map(|&levels| usize::from(levels)).sum();
                assert!(differences.iter().all(|&levels| levels <= 1), "{size:?}");
                assert!(sum * 30 < differences.len(), "{sum} in {size:?}");
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
