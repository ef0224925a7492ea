//! Opens one listed image: label, path, limits, decoding, hashes, and its blob.

use std::{collections::HashMap, fs, path::Path};

use saga_imaging::{DecodeError, DecodeLimits};

use super::listing::{BadRow, ListedRow};
use crate::{blobs::Blobs, error::StoreError};

/// An image that is ready to become a row; its blob is written.
#[derive(Debug)]
pub(crate) struct NewImage {
    pub(crate) path: String,
    pub(crate) label: usize,
    pub(crate) subject: String,
    pub(crate) blake3: String,
    pub(crate) picture: Picture,
}

/// What decoding tells of an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) phash: u64,
}

impl Picture {
    /// Decodes an image within the limits.
    pub(crate) fn of(bytes: &[u8], limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let pixels = saga_imaging::decode(bytes, limits)?;
        let phash = saga_imaging::phash(&saga_imaging::grey(&pixels));
        Ok(Self {
            width: pixels.width(),
            height: pixels.height(),
            phash,
        })
    }
}

/// What became of a row.
#[derive(Debug)]
pub(crate) enum Checked {
    New(NewImage),
    Unchanged,
    Bad(BadRow),
}

/// What rows are checked against.
pub(crate) struct Checker<'a> {
    pub(crate) root: &'a Path,
    pub(crate) classes: &'a [String],
    pub(crate) limits: DecodeLimits,
    pub(crate) blobs: &'a Blobs,
    /// Label and hash of the images that are there already, by path.
    pub(crate) known: &'a HashMap<String, (usize, String)>,
    /// New images no longer find a side.
    pub(crate) divided: bool,
}

impl Checker<'_> {
    /// Checks a row and writes its blob.
    ///
    /// # Errors
    /// Only what ends the whole import: the blob folder fails. A bad image is [`Checked::Bad`].
    pub(crate) fn check(&self, row: &ListedRow) -> Result<Checked, StoreError> {
        match self.open(row) {
            Ok(Opened::Unchanged) => Ok(Checked::Unchanged),
            Ok(Opened::New { image, bytes }) => {
                let blake3 = self.blobs.put_unsynced(&bytes)?;
                Ok(Checked::New(NewImage { blake3, ..image }))
            }
            Err((reason, message)) => Ok(Checked::Bad(BadRow::of(row, reason, message))),
        }
    }

    fn open(&self, row: &ListedRow) -> Result<Opened, (&'static str, String)> {
        let label = label_of(&row.label, self.classes).ok_or_else(|| {
            let known = self.classes.join(", ");
            (
                "UNKNOWN_LABEL",
                format!(
                    "'{}' is neither a class nor the index of one; the classes are: {known}",
                    row.label
                ),
            )
        })?;
        let (file, path) = super::listing::resolve(self.root, &row.path)?;
        let bytes = self.read(&file)?;
        let blake3 = blake3::hash(&bytes).to_hex().to_string();
        if let Some((known_label, known_bytes)) = self.known.get(&path) {
            if *known_label == label && *known_bytes == blake3 {
                return Ok(Opened::Unchanged);
            }
            return Err(("CHANGED", "label or contents differ from what was imported before; import under another dataset_id".into()));
        }
        if self.divided {
            return Err((
                "ALREADY_SPLIT",
                "the data set is split; import under another dataset_id to add images".into(),
            ));
        }
        let picture =
            Picture::of(&bytes, &self.limits).map_err(|e| (reason_of(&e), e.to_string()))?;
        let image = NewImage {
            path,
            label,
            subject: row.subject.clone(),
            blake3,
            picture,
        };
        Ok(Opened::New { image, bytes })
    }

    fn read(&self, file: &Path) -> Result<Vec<u8>, (&'static str, String)> {
        let unreadable = |e: std::io::Error| ("UNREADABLE", e.to_string());
        let length = fs::metadata(file).map_err(unreadable)?.len();
        match length {
            0 => Err(("EMPTY_FILE", "the file has 0 bytes".into())),
            _ if length > self.limits.max_bytes as u64 => Err((
                "TOO_MANY_BYTES",
                format!(
                    "the file has {length} bytes, the limit is {} (images.max_bytes)",
                    self.limits.max_bytes
                ),
            )),
            _ => fs::read(file).map_err(unreadable),
        }
    }
}

enum Opened {
    Unchanged,
    New { image: NewImage, bytes: Vec<u8> },
}

/// A class by name, else by index.
fn label_of(label: &str, classes: &[String]) -> Option<usize> {
    let by_index = || label.parse().ok().filter(|i| *i < classes.len());
    classes.iter().position(|c| c == label).or_else(by_index)
}

/// The stable word for a picture that does not decode.
pub(crate) fn reason_of(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::Empty => "EMPTY_FILE",
        DecodeError::NotAnImage => "NOT_AN_IMAGE",
        DecodeError::TooManyBytes { .. } => "TOO_MANY_BYTES",
        DecodeError::TooManyPixels { .. } | DecodeError::SideTooLong { .. } => "TOO_MANY_PIXELS",
        DecodeError::TooManyFrames { .. } => "TOO_MANY_FRAMES",
        DecodeError::Truncated { .. } => "TRUNCATED",
        DecodeError::Unsupported { .. } | DecodeError::Malformed { .. } => "UNDECODABLE",
    }
}
