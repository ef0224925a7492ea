//! What can go wrong in signing a file and in reading its signature.

use std::{io, path::PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    /// The bytes begin like no image format.
    #[error("is not an image file")]
    NotAnImage,
    /// A format without a place for a manifest.
    #[error("{format} files cannot carry a C2PA manifest; jpeg, png, webp, gif and tiff can")]
    Format { format: &'static str },
    /// The container is not as its format asks.
    #[error("is damaged: {0}")]
    Container(#[from] img_parts::Error),
    /// There is nothing to verify.
    #[error(
        "carries no C2PA manifest: it was never signed, or what handled it since has removed the manifest"
    )]
    NoManifest,
    /// There is a manifest, but it cannot be read.
    #[error("carries a C2PA manifest that cannot be read: {0}")]
    Unreadable(#[source] Box<c2pa::Error>),
    /// The image could not be signed.
    #[error("cannot be signed: {0}")]
    Sign(#[source] Box<c2pa::Error>),
    /// A certificate or key that C2PA does not allow.
    #[error("{what} cannot be used: {why}")]
    Identity { what: &'static str, why: String },
    /// A file of certificate or key.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}
