//! Antialiased resizing with Pillow's semantics: the filter's support grows when shrinking, and 8-bit results are
//! rounded after each of the two passes.

use std::borrow::Cow;

use fast_image_resize::{
    FilterType, IntoImageView, IntoImageViewMut, ResizeAlg, ResizeOptions, Resizer,
};
use image::{GrayImage, ImageBuffer, Pixel, RgbImage};

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
    let across = across(picture, width, filter);
    let mut resized = RgbImage::new(width, height);
    convolve(across.as_ref(), &mut resized, filter);
    resized
}

/// [`resize`] for one channel.
#[must_use]
pub fn resize_grey(picture: &GrayImage, width: u32, height: u32, filter: Filter) -> GrayImage {
    let across = across(picture, width, filter);
    let mut resized = GrayImage::new(width, height);
    convolve(across.as_ref(), &mut resized, filter);
    resized
}

type Picture<P> = ImageBuffer<P, Vec<u8>>;

/// The horizontal pass.
fn across<P>(picture: &Picture<P>, width: u32, filter: Filter) -> Cow<'_, Picture<P>>
where
    P: Pixel<Subpixel = u8>,
    Picture<P>: IntoImageView + IntoImageViewMut,
{
    if picture.width() == width {
        return Cow::Borrowed(picture);
    }
    let mut across = Picture::new(width, picture.height());
    convolve(picture, &mut across, filter);
    Cow::Owned(across)
}

/// One pass, since at most one side differs; a copy where none does.
#[allow(clippy::expect_used)]
fn convolve(from: &impl IntoImageView, to: &mut impl IntoImageViewMut, filter: Filter) {
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        // Catmull-Rom is Keys' cubic with a = -0.5.
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos3 => FilterType::Lanczos3,
    };
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(filter))
        .use_alpha(false);
    // The only errors are a crop box outside the source and unequal pixel types; neither can be asked for here.
    Resizer::new()
        .resize(from, to, &options)
        .expect("same pixel type and no crop box");
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
