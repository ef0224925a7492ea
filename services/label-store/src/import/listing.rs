//! What an import finds before it opens an image: rows with their labels as text, and rows that are no rows.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use crate::error::StoreError;

/// One image that a folder or manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedRow {
    /// Line of the manifest from 1; 0 for a folder.
    pub(crate) line: u64,
    /// As written, relative to the root.
    pub(crate) path: String,
    /// Name or index of the class.
    pub(crate) label: String,
    /// Empty where unknown.
    pub(crate) subject: String,
}

/// A row that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Line of the manifest from 1; 0 for a folder.
    pub line: u64,
    pub path: String,
    /// Stable upper-case word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl BadRow {
    pub(crate) fn of(row: &ListedRow, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            line: row.line,
            path: row.path.clone(),
            reason,
            message: message.into(),
        }
    }
}

/// Everything a data set names.
#[derive(Debug)]
pub(crate) struct Listing {
    /// "affectnet", "imagefolder", "csv" or "jsonl".
    pub(crate) layout: &'static str,
    /// Canonical folder that paths are relative to.
    pub(crate) root: PathBuf,
    pub(crate) rows: Vec<ListedRow>,
    pub(crate) bad: Vec<BadRow>,
}

impl Listing {
    /// The labels that occur, in order of name.
    pub(crate) fn labels(&self) -> Vec<String> {
        let labels: BTreeSet<&str> = self.rows.iter().map(|row| row.label.trim()).collect();
        labels
            .into_iter()
            .filter(|label| !label.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// Lists a data set; which layout it has is read off the path.
///
/// # Errors
/// [`StoreError::Invalid`] on `path` where it cannot be read, has no known layout, lacks a column, or is empty.
pub(crate) fn list(path: &Path) -> Result<Listing, StoreError> {
    let listing = if path.is_dir() {
        list_folder(path)?
    } else {
        list_manifest(path)?
    };
    if listing.rows.is_empty() && listing.bad.is_empty() {
        return Err(invalid(
            path,
            "names no images; it needs class folders, a labels.csv, or a manifest with rows",
        ));
    }
    Ok(listing)
}

fn list_folder(root: &Path) -> Result<Listing, StoreError> {
    let labels = root.join("labels.csv");
    let (layout, (rows, bad)) = if labels.is_file() {
        ("affectnet", super::affectnet::list(&labels)?)
    } else {
        ("imagefolder", (super::imagefolder::list(root)?, Vec::new()))
    };
    Ok(Listing {
        layout,
        root: root.to_path_buf(),
        rows,
        bad,
    })
}

fn list_manifest(path: &Path) -> Result<Listing, StoreError> {
    let root = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let (layout, (rows, bad)) = match extension.as_str() {
        "csv" => ("csv", super::manifest::list_csv(path)?),
        "jsonl" | "ndjson" => ("jsonl", super::manifest::list_jsonl(path)?),
        _ => {
            return Err(invalid(
                path,
                "is neither a folder nor a .csv or .jsonl manifest",
            ));
        }
    };
    Ok(Listing {
        layout,
        root,
        rows,
        bad,
    })
}

pub(crate) fn invalid(path: &Path, why: &str) -> StoreError {
    StoreError::invalid("path", format!("{} {why}", path.display()))
}

/// The file that a row means, and its path in canonical spelling (no `.`, forward slashes).
///
/// # Errors
/// Reason and message where the path leaves the data set, by its spelling or through a symbolic link, or is no file.
pub(crate) fn resolve(
    root: &Path,
    path: &str,
) -> Result<(PathBuf, String), (&'static str, String)> {
    let mut parts = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy()),
            Component::CurDir => {}
            _ => {
                return Err((
                    "PATH_ESCAPES",
                    "paths must be relative to the data set, without '..'".into(),
                ));
            }
        }
    }
    let relative = parts.join("/");
    let file = match fs::canonicalize(root.join(&relative)) {
        Ok(file) => file,
        Err(e) => {
            return Err((
                "MISSING_FILE",
                format!("no such file below {}: {e}", root.display()),
            ));
        }
    };
    if !file.starts_with(root) {
        return Err((
            "PATH_ESCAPES",
            "a symbolic link leads out of the data set".into(),
        ));
    }
    if !file.is_file() {
        return Err(("MISSING_FILE", "this is not a file".into()));
    }
    Ok((file, relative))
}
