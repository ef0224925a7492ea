//! ImageFolder: a folder for each class, named as the class; images at any depth below it.

use std::path::Path;

use super::listing::{ListedRow, invalid};
use crate::error::StoreError;

const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Every image file, in the order of its path; the first folder of the path is the label.
pub(crate) fn list(root: &Path) -> Result<Vec<ListedRow>, StoreError> {
    let mut rows = Vec::new();
    for entry in walkdir::WalkDir::new(root).min_depth(2).sort_by_file_name() {
        let entry = entry.map_err(|e| invalid(root, &format!("cannot be listed: {e}")))?;
        let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
        if entry.file_type().is_dir() || !is_image(relative) {
            continue;
        }
        let label = relative
            .iter()
            .next()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let path = relative.to_string_lossy().into_owned();
        rows.push(ListedRow {
            line: 0,
            path,
            label,
            subject: String::new(),
        });
    }
    Ok(rows)
}

fn is_image(path: &Path) -> bool {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    EXTENSIONS
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}
