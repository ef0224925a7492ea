//! Strict JPEG decoding to the very pixels of libjpeg-turbo, which Pillow and OpenCV decode with.
//!
//! Models are trained on those, so that others cost agreement: with the `image` crate's decoder 48 % of a noisy picture's levels
//! differed, by up to 4, and the logits of ViT-B/16 by 3e-3. Where libjpeg warns of missing or broken data and fills it with grey, a
//! file is refused here.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use libjpeg_turbo_rs::{ColorSpace, ComponentInfo, Decoder, JpegError, PixelFormat};
use memchr::memchr;

use crate::decode::{DecodeError, DecodeLimits};

const FORMAT: &str = "JPEG";

/// Most scans of a progressive file; encoders write about ten.
const MAX_SCANS: usize = 500;

/// Decodes `bytes` to upright RGB. CMYK and YCCK are converted as Pillow does (inverted, as Adobe writes them).
pub(crate) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage, DecodeError> {
    let complete = reaches_end_of_image(bytes);
    let fail = |error: JpegError| {
        if complete {
            from_jpeg_error(error)
        } else {
            DecodeError::Truncated { format: FORMAT }
        }
    };
    let bounds = libjpeg_turbo_rs::DecodeLimits {
        max_scans: MAX_SCANS,
        ..Default::default()
    };
    let mut decoder = Decoder::new_with_limits(bytes, bounds).map_err(fail)?;
    let frame = decoder.header();
    let (width, height) = (u32::from(frame.width), u32::from(frame.height));
    limits.check_size(width, height)?;
    if !complete {
        return Err(DecodeError::Truncated { format: FORMAT });
    }
    // No pixels, or as many rows as a marker behind them says; libjpeg refuses both.
    if width == 0 || height == 0 {
        return Err(malformed(format!(
            "its header states {width}x{height} pixels"
        )));
    }
    let orientation = decoder.exif_orientation().and_then(Orientation::from_exif);
    let inks = matches!(
        decoder.jpeg_color_space(),
        ColorSpace::Cmyk | ColorSpace::Ycck
    );
    if inks && !is_ink_sampling_known(&decoder.header().components) {
        let what = "this kind of JPEG (inks of different resolutions)".to_owned();
        return Err(DecodeError::Unsupported { what });
    }
    decoder.set_output_format(if inks {
        PixelFormat::Cmyk
    } else {
        PixelFormat::Rgb
    });
    decoder.set_stop_on_warning(true);
    let mut pixels = decoder.decode_image().map_err(fail)?.data;
    if inks {
        pixels = pixels
            .as_chunks::<4>()
            .0
            .iter()
            .flat_map(rgb_of_inks)
            .collect();
    }
    let picture = RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| malformed("its pixels do not fill its size".to_owned()))?;
    Ok(upright(picture, orientation))
}

/// Whether four components are sampled in a way that the decoder brings to one size: the first and the last in full, the two
/// between them alike. Of others it reads past the end of a plane.
fn is_ink_sampling_known(components: &[ComponentInfo]) -> bool {
    let sampling =
        |component: &ComponentInfo| (component.horizontal_sampling, component.vertical_sampling);
    let [first, second, third, last] = components else {
        return false;
    };
    let (full, part) = (sampling(first), sampling(second));
    sampling(last) == full && sampling(third) == part && part.0 <= full.0 && part.1 <= full.1
}

/// What is left of white under cyan, magenta, yellow and black, each inverted: 255 is no ink.
fn rgb_of_inks(&[cyan, magenta, yellow, black]: &[u8; 4]) -> [u8; 3] {
    let share = |ink: u8| {
        // Pillow's: the product over 255, rounded, is what the ink takes away.
        let product = u32::from(255 - ink) * u32::from(black) + 128;
        black.saturating_sub((((product >> 8) + product) >> 8) as u8)
    };
    [cyan, magenta, yellow].map(share)
}

fn upright(picture: RgbImage, orientation: Option<Orientation>) -> RgbImage {
    match orientation {
        None | Some(Orientation::NoTransforms) => picture,
        Some(turn) => {
            let mut picture = DynamicImage::ImageRgb8(picture);
            picture.apply_orientation(turn);
            picture.into_rgb8()
        }
    }
}

fn from_jpeg_error(error: JpegError) -> DecodeError {
    match error {
        JpegError::Unsupported(what) => DecodeError::Unsupported {
            what: format!("this kind of JPEG ({what})"),
        },
        JpegError::UnexpectedEof => DecodeError::Truncated { format: FORMAT },
        other => malformed(other.to_string()),
    }
}

fn malformed(why: String) -> DecodeError {
    DecodeError::Malformed {
        format: FORMAT,
        why,
    }
}

/// Whether the end of the image follows a scan. Walks the markers (ITU-T T.81, annex B): segments by their length, entropy-coded
/// data up to EOI.
fn reaches_end_of_image(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    const END_OF_IMAGE: u8 = 0xD9;
    let mut at = 2;
    let mut in_scan = false;
    loop {
        // Inside a scan everything up to the next marker is data; between segments it is padding.
        let Some(offset) = bytes.get(at..).and_then(|rest| memchr(0xFF, rest)) else {
            return false;
        };
        at += offset + 1;
        match bytes.get(at) {
            None => return false,
            Some(0xFF) => {}
            // A stuffed zero, a restart, TEM, or a stray SOI: no length follows.
            Some(0x00 | 0x01 | 0xD0..=0xD8) => at += 1,
            Some(&END_OF_IMAGE) => return in_scan,
            Some(&marker) => {
                let Some(&[high, low]) = bytes.get(at + 1..at + 3) else {
                    return false;
                };
                at += 1 + usize::from(u16::from_be_bytes([high, low])).max(2);
                in_scan |= marker == START_OF_SCAN;
            }
        }
    }
}
