//! Images as hostile senders make them: whole files, files with a few bytes changed, and anything at all.

use arbitrary::Arbitrary;
use saga_imaging::{RgbImage, blake3_hex, encode_jpeg};
use saga_proto::r#type::v1;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(include_bytes!(concat!("../../services/lib/imaging/tests/fixtures/", $name)).as_slice()),*]
    };
}

/// Rendered pictures in every format and layout that is decoded.
const FILES: &[&[u8]] = &files![
    "rgb.jpg",
    "progressive.jpg",
    "grey.jpg",
    "cmyk.jpg",
    "restart.jpg",
    "exif6.jpg",
    "palette.png",
    "alpha.png",
    "deep_grey.png",
    "animated.png",
    "lossy.webp",
    "lossless.webp",
    "animated.webp",
    "palette.gif",
    "animated.gif",
    "rgb.bmp",
    "pages.tiff",
];

/// An image message.
#[derive(Debug, Arbitrary)]
pub struct Image {
    file: File,
    hash: Hash,
}

/// The bytes of an image.
#[derive(Debug, Arbitrary)]
pub enum File {
    Whole(u8),
    Edited(u8, Vec<Edit>),
    Cut(u8, u16),
    /// A JPEG of this width and height.
    Blank(u16, u16),
    Any(Vec<u8>),
}

/// Bytes written over others.
#[derive(Debug, Arbitrary)]
pub struct Edit {
    at: u16,
    bytes: [u8; 4],
    count: u8,
}

#[derive(Debug, Arbitrary)]
enum Hash {
    Absent,
    Right,
    Any(String),
}

impl From<Image> for v1::Image {
    fn from(Image { file, hash }: Image) -> Self {
        let data = Vec::from(file);
        let blake3 = match hash {
            Hash::Absent => String::new(),
            Hash::Right => blake3_hex(&data),
            Hash::Any(text) => text,
        };
        Self {
            data: data.into(),
            blake3,
        }
    }
}

impl From<File> for Vec<u8> {
    fn from(file: File) -> Self {
        match file {
            File::Whole(which) => known(which),
            File::Cut(which, length) => {
                let mut bytes = known(which);
                bytes.truncate(length.into());
                bytes
            }
            File::Blank(width, height) => {
                // Any shape, but soon encoded.
                let height = u32::from(height).min((1 << 17) / u32::from(width).max(1));
                encode_jpeg(&RgbImage::new(width.into(), height), 50).unwrap_or_default()
            }
            File::Edited(which, edits) => {
                let mut bytes = known(which);
                for Edit {
                    at,
                    bytes: new,
                    count,
                } in edits
                {
                    let at = usize::from(at) % bytes.len();
                    let count = 1 + usize::from(count) % new.len();
                    let old = bytes.iter_mut().skip(at);
                    old.zip(new).take(count).for_each(|(old, new)| *old = new);
                }
                bytes
            }
            File::Any(bytes) => bytes,
        }
    }
}

fn known(which: u8) -> Vec<u8> {
    FILES[usize::from(which) % FILES.len()].to_vec()
}
