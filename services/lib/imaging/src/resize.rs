//! Antialiased resizing with Pillow's semantics: the filter's support grows when shrinking, and 8-bit results are
//! rounded after each of the two passes.

use fast_image_resize::{
    FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::{U8, U8x3},
};
use image::{GrayImage, RgbImage};

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

/// Resizes to `width` x `height` pixels without keeping the aspect. A side of zero gives an empty picture.
///
/// The two passes run one after the other, across and then down, as in Pillow before version 13 (which chooses the order
/// by size). The resizer alone would go down first, and what sharp filters overshoot is clipped in between: at hard
/// edges the order shows.
#[must_use]
pub fn resize(picture: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    let mut resized = RgbImage::new(width, height);
    two_passes::<U8x3>(
        picture,
        picture.dimensions(),
        &mut resized,
        (width, height),
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
        (width, height),
        filter,
    );
    resized
}

/// Across, then down; a pass along which nothing changes is left out. Sizes are width and height.
fn two_passes<P: PixelTrait>(
    from: &[u8],
    (width, height): (u32, u32),
    to: &mut [u8],
    (new_width, new_height): (u32, u32),
    filter: Filter,
) {
    if width == new_width {
        return convolve::<P>(from, (width, height), to, (new_width, new_height), filter);
    }
    let mut across = vec![0; new_width as usize * height as usize * P::size()];
    convolve::<P>(
        from,
        (width, height),
        &mut across,
        (new_width, height),
        filter,
    );
    convolve::<P>(
        &across,
        (new_width, height),
        to,
        (new_width, new_height),
        filter,
    );
}

/// One pass, since at most one side differs; a copy where none does.
///
/// Typed pixels, because the resizer's untyped entry compiles its kernels for every pixel type there is.
#[allow(clippy::expect_used)]
fn convolve<P: PixelTrait>(
    from: &[u8],
    from_size: (u32, u32),
    to: &mut [u8],
    to_size: (u32, u32),
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
        .use_alpha(false);
    // The only errors are buffers of another size and a crop box outside the source; neither can be asked for here.
    let from = TypedImageRef::<P>::from_buffer(from_size.0, from_size.1, from)
        .expect("a buffer of that size");
    let mut to =
        TypedImage::<P>::from_buffer(to_size.0, to_size.1, to).expect("a buffer of that size");
    Resizer::new()
        .resize_typed(&from, &mut to, &options)
        .expect("no crop box");
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
