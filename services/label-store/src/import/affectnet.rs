//! AffectNet's layout: class folders, and a `labels.csv` with the columns `pth`, `label` and perhaps `subject`. The
//! label column decides, not the folder.

use std::path::Path;

use super::{listing::BadRow, listing::ListedRow, manifest};
use crate::error::StoreError;

/// The rows of a `labels.csv`.
pub(crate) fn list(labels: &Path) -> Result<(Vec<ListedRow>, Vec<BadRow>), StoreError> {
    manifest::read_csv(labels, &["pth"])
}
