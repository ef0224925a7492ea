//! Signed provenance of generated images: who made a file, how, and from what, inside the file itself.
//!
//! [`sign`] writes a C2PA manifest (C2PA 2, crate `c2pa`) and, where the format has a place for it, the IPTC digital source
//! type as XMP; [`verify`] reads both back and says whether they still hold. Pixels stay as they are. Nothing here
//! reaches for the network: no remote manifests, no time stamps, no revocation lists.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod error;
mod format;
mod identity;
mod sign;
mod signer;
mod snapshot;
#[cfg(test)]
mod test_support;
mod verify;
mod xmp;

pub use error::ProvenanceError;
pub use identity::Identity;
pub use sign::sign;
pub use snapshot::{SNAPSHOT_LABEL, Snapshot};
pub use verify::{Action, Failure, Ingredient, Report, Signer, State, verify};

/// IPTC digital source type of a real image edited by a trained model.
pub const COMPOSITE_WITH_TRAINED: &str =
    "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia";
/// IPTC digital source type of an image that a trained model made from text alone.
pub const TRAINED: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";
