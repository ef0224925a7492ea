//! `augmented.tar`: the accepted images and their table in one file, to hand on.

use std::{fs::File, io::Write, path::Path};

use tar::{Builder, EntryType, Header};

use super::{Accepted, files};
use crate::error::StoreError;

/// Name of the archive in the export.
pub(super) const ARCHIVE: &str = "augmented.tar";
const TABLE: &str = "augmented_labels.csv";

/// Packs the images of an export that is written otherwise. The same images give the same bytes: entries are in order of
/// admission and carry no time. Images are compressed already, so the archive is not.
pub(super) fn write(directory: &Path, accepted: &[Accepted]) -> Result<(), StoreError> {
    let paths = accepted.iter().map(|image| image.path.as_str());
    files::replace(&directory.join(ARCHIVE), |file| {
        let mut archive = Builder::new(file);
        for path in [TABLE].into_iter().chain(paths) {
            append(&mut archive, directory, path)?;
        }
        archive.finish()
    })
}

fn append(archive: &mut Builder<impl Write>, directory: &Path, path: &str) -> std::io::Result<()> {
    let file = File::open(directory.join(path))?;
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(file.metadata()?.len());
    header.set_mode(0o644);
    archive.append_data(&mut header, path, file)
}
