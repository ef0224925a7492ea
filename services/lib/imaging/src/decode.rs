//! Encoded bytes to an upright RGB picture, with every limit checked before the work it bounds.
//!
//! Stricter than most viewers: a file that ends early is an error, never half a picture, because a gate that judges
//! the grey lower half of a broken upload judges the wrong thing.

use std::any::Any;
use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage, RgbaImage,
};

use crate::{frames, jpeg};

/// What one encoded image may cost. Each limit is inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Length of the encoded file in bytes.
    pub max_bytes: usize,
    /// Declared width times height.
    pub max_pixels: u64,
    /// Declared width, and declared height, in pixels.
    pub max_side: u32,
    /// Frames of an animation or pages of a TIFF. Only the first is decoded.
    pub max_frames: u32,
}

impl Default for DecodeLimits {
    /// 32 MiB, 50 megapixels, 16,384 pixels a side, 256 frames.
    fn default() -> Self {
        Self {
            max_bytes: 32 << 20,
            max_pixels: 50_000_000,
            max_side: 16_384,
            max_frames: 256,
        }
    }
}

/// Why bytes did not become a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("the image is empty (0 bytes); send the encoded file")]
    Empty,
    /// The first bytes are those of no image format.
    #[error("the bytes are not an image; send JPEG, PNG, WebP, GIF, BMP or TIFF")]
    NotAnImage,
    /// An image, but of a format or feature that is not decoded.
    #[error("{what} is not supported; send JPEG, PNG, WebP, GIF, BMP or TIFF")]
    Unsupported {
        /// The format or feature.
        what: String,
    },
    /// The file ends before its picture does.
    #[error("the {format} file is truncated; send the whole file")]
    Truncated {
        /// Name of the format.
        format: &'static str,
    },
    /// The file contradicts its format.
    #[error("the {format} file is malformed: {why}")]
    Malformed {
        /// Name of the format.
        format: &'static str,
        /// The decoder's reason.
        why: String,
    },
    /// The encoded file is too long.
    #[error("the image has {bytes} bytes and the limit is {limit}; send a smaller file")]
    TooManyBytes {
        /// Length of the file.
        bytes: usize,
        /// The longest file taken.
        limit: usize,
    },
    /// The declared area is too large.
    #[error(
        "the image declares {width}x{height} pixels and the limit is {limit} in all; send a smaller image"
    )]
    TooManyPixels {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// The largest area taken.
        limit: u64,
    },
    /// A declared side is too long.
    #[error(
        "the image declares {width}x{height} pixels and the limit is {limit} a side; send a smaller image"
    )]
    SideTooLong {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// The longest side taken.
        limit: u32,
    },
    /// The animation or document has too many frames.
    #[error("the image has more than {limit} frames; send a still image")]
    TooManyFrames {
        /// The most frames taken.
        limit: u32,
    },
}

impl DecodeLimits {
    /// Refuses a declared size before anything is allocated for it.
    pub(crate) fn check_size(&self, width: u32, height: u32) -> Result<(), DecodeError> {
        if width > self.max_side || height > self.max_side {
            return Err(DecodeError::SideTooLong {
                width,
                height,
                limit: self.max_side,
            });
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(DecodeError::TooManyPixels {
                width,
                height,
                limit: self.max_pixels,
            });
        }
        Ok(())
    }
}

/// Decodes the first frame to 8-bit RGB: EXIF orientation applied, transparency laid over white, 16-bit scaled to
/// 8-bit, grey replicated, CMYK converted as Pillow does.
///
/// # Errors
/// [`DecodeError`], which names the limit where one was passed. A decoder that panics on hostile bytes is reported as
/// [`DecodeError::Malformed`], so that one image never takes a worker down.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.len() > limits.max_bytes {
        return Err(DecodeError::TooManyBytes {
            bytes: bytes.len(),
            limit: limits.max_bytes,
        });
    }
    let format = image::guess_format(bytes).map_err(|_| DecodeError::NotAnImage)?;
    let name = supported_name(format)?;
    catch_unwind(AssertUnwindSafe(|| match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, limits),
        _ => decode_other(bytes, format, name, limits),
    }))
    .unwrap_or_else(|panic| {
        Err(DecodeError::Malformed {
            format: name,
            why: panic_text(panic.as_ref()),
        })
    })
}

fn supported_name(format: ImageFormat) -> Result<&'static str, DecodeError> {
    match format {
        ImageFormat::Jpeg => Ok("JPEG"),
        ImageFormat::Png => Ok("PNG"),
        ImageFormat::WebP => Ok("WebP"),
        ImageFormat::Gif => Ok("GIF"),
        ImageFormat::Bmp => Ok("BMP"),
        ImageFormat::Tiff => Ok("TIFF"),
        other => Err(DecodeError::Unsupported {
            what: other.to_mime_type().to_owned(),
        }),
    }
}

fn decode_other(
    bytes: &[u8],
    format: ImageFormat,
    name: &'static str,
    limits: &DecodeLimits,
) -> Result<RgbImage, DecodeError> {
    let fail = |error: ImageError| from_image_error(error, name);
    if frames::more_than(bytes, format, limits.max_frames) {
        return Err(DecodeError::TooManyFrames {
            limit: limits.max_frames,
        });
    }
    if format == ImageFormat::WebP && !frames::riff_is_whole(bytes) {
        // Its decoder reads zeros past the end of a lossy file.
        return Err(DecodeError::Truncated { format: name });
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(allocation_limits(limits));
    let mut decoder = reader.into_decoder().map_err(fail)?;
    let (width, height) = decoder.dimensions();
    limits.check_size(width, height)?;
    let orientation = decoder.orientation().map_err(fail)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
    picture.apply_orientation(orientation);
    if picture.color().has_alpha() {
        Ok(over_white(&picture.into_rgba8()))
    } else {
        Ok(picture.into_rgb8())
    }
}

/// A second fence inside the decoders: 16 bytes a pixel is the widest layout there is (four 32-bit floats), doubled
/// for the decoders' own buffers. The size check in front of it gives the better message.
fn allocation_limits(limits: &DecodeLimits) -> Limits {
    let mut fence = Limits::no_limits();
    fence.max_alloc = Some(limits.max_pixels.saturating_mul(32).saturating_add(1 << 20));
    fence
}

fn over_white(rgba: &RgbaImage) -> RgbImage {
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0.map(u32::from);
        let blend = |c: u32| ((c * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        image::Rgb([blend(r), blend(g), blend(b)])
    })
}

fn from_image_error(error: ImageError, format: &'static str) -> DecodeError {
    if ended_early(&error) {
        return DecodeError::Truncated { format };
    }
    match error {
        ImageError::Unsupported(what) => DecodeError::Unsupported {
            what: what.to_string(),
        },
        other => DecodeError::Malformed {
            format,
            why: other.to_string(),
        },
    }
}

/// Whether the end of the file lies at the root of `error`: the decoders wrap it to different depths.
fn ended_early(error: &ImageError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        let io = current.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = current.source();
    }
    false
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("its decoder gave up: {}", text.unwrap_or("no reason given"))
}
