//! Strict JPEG decoding.
//!
//! The `image` crate decodes JPEG leniently and fills what is missing with grey. Here the same decoder runs in its
//! strict mode, and the file must reach its end-of-image marker.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::decode::{DecodeError, DecodeLimits};

const FORMAT: &str = "JPEG";

/// Decodes `bytes` to upright RGB. CMYK and YCCK are converted as Pillow does (inverted, as Adobe writes them).
pub(crate) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage, DecodeError> {
    let Markers { frame, complete } = Markers::of(bytes);
    let fail = |error: DecodeErrors| {
        if complete {
            from_jpeg_error(&error)
        } else {
            DecodeError::Truncated { format: FORMAT }
        }
    };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(fail)?;
    let halvings = match decoder.input_colorspace() {
        Some(ColorSpace::YCbCr) => halvings(frame),
        _ => 0,
    };
    if halvings > 0 {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::YCbCr));
    }
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (width, height) = (width as u32, height as u32);
    limits.check_size(width, height)?;
    if !complete {
        return Err(DecodeError::Truncated { format: FORMAT });
    }
    let orientation = decoder
        .exif()
        .and_then(|exif| Orientation::from_exif_chunk(exif));
    let mut pixels = decoder.decode().map_err(fail)?;
    if halvings > 0 {
        pulp::Arch::new().dispatch(|| rgb_of_ycbcr(&mut pixels, halvings));
    }
    let picture = RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| malformed("its pixels do not fill its size".to_owned()))?;
    Ok(upright(picture, orientation))
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

fn from_jpeg_error(error: &DecodeErrors) -> DecodeError {
    match error {
        DecodeErrors::Unsupported(what) => DecodeError::Unsupported {
            what: format!("this kind of JPEG ({what:?})"),
        },
        DecodeErrors::ExhaustedData => DecodeError::Truncated { format: FORMAT },
        other => malformed(other.to_string()),
    }
}

fn malformed(why: String) -> DecodeError {
    DecodeError::Malformed {
        format: FORMAT,
        why,
    }
}

/// How often chroma was halved: once for 4:2:2, twice for 4:2:0; 0 where the decoder does not interpolate it. `frame` is what
/// follows the length in a frame header: precision, height, width and the number of components; then identifier, sampling and
/// table of each.
fn halvings(frame: &[u8]) -> i32 {
    let sampling = |component: usize| {
        let packed = frame.get(6 + 3 * component + 1)?;
        Some((packed >> 4, packed & 15))
    };
    match (sampling(0), sampling(1), sampling(2)) {
        (Some((h, v)), Some((1, 1)), Some((1, 1))) if h <= 2 && v <= 2 => {
            i32::from(h == 2) + i32::from(v == 2)
        }
        _ => 0,
    }
}

/// JFIF's YCbCr to RGB in place. The decoder rounds up wherever it doubles chroma, an eighth of a level on average each time;
/// that is taken off again, so that colours agree with libjpeg's on average.
#[inline(always)]
fn rgb_of_ycbcr(pixels: &mut [u8], halvings: i32) {
    // Chroma in eighths, factors in 2^-16.
    const RED: i32 = 91_881;
    const GREEN: (i32, i32) = (22_554, 46_802);
    const BLUE: i32 = 116_130;
    let zero = 128 * 8 + halvings;
    let level = |scaled: i32| ((scaled + (1 << 18)) >> 19).clamp(0, 255) as u8;
    for pixel in pixels.as_chunks_mut::<3>().0 {
        let [y, cb, cr] = pixel.map(i32::from);
        let (y, cb, cr) = (y << 19, 8 * cb - zero, 8 * cr - zero);
        *pixel = [
            level(y + RED * cr),
            level(y - GREEN.0 * cb - GREEN.1 * cr),
            level(y + BLUE * cb),
        ];
    }
}

/// What the markers of a file tell.
#[derive(Default)]
struct Markers<'a> {
    /// What follows the length in the first frame header (SOF0 to SOF2); empty where there is none.
    frame: &'a [u8],
    /// Whether the end of the image follows a scan.
    complete: bool,
}

impl<'a> Markers<'a> {
    /// Walks the markers (ITU-T T.81, annex B): segments by their length, entropy-coded data byte by byte, up to EOI.
    fn of(bytes: &'a [u8]) -> Self {
        const START_OF_SCAN: u8 = 0xDA;
        const END_OF_IMAGE: u8 = 0xD9;
        let mut markers = Self::default();
        let mut at = 2;
        let mut in_scan = false;
        loop {
            // Inside a scan everything up to the next marker is data; between segments it is padding.
            let Some(offset) = bytes
                .get(at..)
                .and_then(|rest| rest.iter().position(|&b| b == 0xFF))
            else {
                return markers;
            };
            at += offset + 1;
            match bytes.get(at) {
                None => return markers,
                Some(0xFF) => {}
                // A stuffed zero, a restart, TEM, or a stray SOI: no length follows.
                Some(0x00 | 0x01 | 0xD0..=0xD8) => at += 1,
                Some(&END_OF_IMAGE) => {
                    markers.complete = in_scan;
                    return markers;
                }
                Some(&marker) => {
                    let Some(&[high, low]) = bytes.get(at + 1..at + 3) else {
                        return markers;
                    };
                    let end = at + 1 + usize::from(u16::from_be_bytes([high, low])).max(2);
                    if matches!(marker, 0xC0..=0xC2) && markers.frame.is_empty() {
                        markers.frame = bytes.get(at + 3..end).unwrap_or_default();
                    }
                    at = end;
                    in_scan |= marker == START_OF_SCAN;
                }
            }
        }
    }
}
