//! Which files can carry a manifest.

use image::ImageFormat;

use crate::error::ProvenanceError;

/// The format of an image file by its first bytes, where C2PA has a place in it.
pub(crate) fn of(bytes: &[u8]) -> Result<ImageFormat, ProvenanceError> {
    match image::guess_format(bytes).map_err(|_| ProvenanceError::NotAnImage)? {
        format @ (ImageFormat::Jpeg
        | ImageFormat::Png
        | ImageFormat::WebP
        | ImageFormat::Gif
        | ImageFormat::Tiff) => Ok(format),
        other => Err(ProvenanceError::Format {
            format: other.to_mime_type(),
        }),
    }
}
