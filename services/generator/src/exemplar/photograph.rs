//! Photographs as planes: luminance for everything that registration and blending do, chrominance beside it.

use image::{GrayImage, Rgb, RgbImage};

use super::plane::Plane;

/// A decoded photograph in YCbCr (JFIF, ITU-R BT.601 full range), all planes of one size.
#[derive(Clone)]
pub(super) struct Photograph {
    /// Luminance, 0 to 255.
    pub(super) luma: Plane,
    /// Cb and Cr around 0; `None` for an image whose channels are all equal.
    pub(super) chroma: Option<[Plane; 2]>,
}

/// An edited photograph: grey stays one channel, colour three.
#[derive(Clone, Debug, PartialEq)]
pub enum Raster {
    /// One channel.
    Grey(GrayImage),
    /// Three channels.
    Rgb(RgbImage),
}

impl Photograph {
    /// Splits an image into its planes.
    pub(super) fn of(image: &RgbImage) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let plane = |weights: [f32; 3]| {
            let value = |pixel: &Rgb<u8>| {
                weights
                    .iter()
                    .zip(pixel.0)
                    .map(|(w, c)| w * f32::from(c))
                    .sum()
            };
            Plane {
                width,
                height,
                data: image.pixels().map(value).collect(),
            }
        };
        let grey = image.pixels().all(|Rgb([r, g, b])| r == g && g == b);
        Self {
            luma: plane([0.299, 0.587, 0.114]),
            chroma: (!grey).then(|| {
                [
                    plane([-0.168_736, -0.331_264, 0.5]),
                    plane([0.5, -0.418_688, -0.081_312]),
                ]
            }),
        }
    }

    /// The image mirrored left to right.
    pub(super) fn mirrored(&self) -> Self {
        Self {
            luma: self.luma.mirrored(),
            chroma: self
                .chroma
                .as_ref()
                .map(|planes| planes.each_ref().map(Plane::mirrored)),
        }
    }

    /// Rounds to 8 bits.
    pub(super) fn to_raster(&self) -> Raster {
        let (width, height) = (self.luma.width as u32, self.luma.height as u32);
        match &self.chroma {
            None => Raster::Grey(GrayImage::from_fn(width, height, |x, y| {
                image::Luma([level(self.luma.at(x as isize, y as isize))])
            })),
            Some([cb, cr]) => Raster::Rgb(RgbImage::from_fn(width, height, |x, y| {
                let (x, y) = (x as isize, y as isize);
                let (luma, cb, cr) = (self.luma.at(x, y), cb.at(x, y), cr.at(x, y));
                Rgb([
                    level(luma + 1.402 * cr),
                    level(luma - 0.344_136 * cb - 0.714_136 * cr),
                    level(luma + 1.772 * cb),
                ])
            })),
        }
    }
}

fn level(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_round_trips_within_one_level() {
        let image = RgbImage::from_fn(16, 16, |x, y| {
            Rgb([(x * 16) as u8, (y * 16) as u8, (x * y) as u8])
        });
        let Raster::Rgb(back) = Photograph::of(&image).to_raster() else {
            panic!("colour became grey")
        };
        assert!(
            image
                .iter()
                .zip(back.iter())
                .all(|(a, b)| a.abs_diff(*b) <= 1)
        );
    }

    #[test]
    fn grey_round_trips_exactly_as_one_channel() {
        let image = RgbImage::from_fn(9, 5, |x, y| Rgb([(x * 20 + y) as u8; 3]));
        let Raster::Grey(back) = Photograph::of(&image).to_raster() else {
            panic!("grey became colour")
        };
        assert!(
            image
                .pixels()
                .zip(back.pixels())
                .all(|(a, b)| a.0[0] == b.0[0])
        );
    }
}
