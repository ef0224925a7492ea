//! CSV and JSONL manifests: a path column (`path`, `file_name` or `image`), `label`, and perhaps `subject`.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
};

use super::listing::{BadRow, ListedRow, invalid};
use crate::error::StoreError;

const PATH_COLUMNS: &[&str] = &["path", "file_name", "image"];

type Rows = (Vec<ListedRow>, Vec<BadRow>);

/// The rows of a CSV manifest with a header.
pub(crate) fn list_csv(file: &Path) -> Result<Rows, StoreError> {
    read_csv(file, PATH_COLUMNS)
}

/// The rows of a CSV whose path column has one of these names.
pub(crate) fn read_csv(file: &Path, path_columns: &[&str]) -> Result<Rows, StoreError> {
    let unreadable = |e: csv::Error| invalid(file, &format!("cannot be read as CSV: {e}"));
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_path(file)
        .map_err(unreadable)?;
    let headers = reader.headers().map_err(unreadable)?.clone();
    let column = |names: &[&str]| {
        headers
            .iter()
            .position(|h| names.contains(&h.trim_start_matches('\u{feff}')))
    };
    let missing = |names: &[&str]| {
        let there = headers.iter().collect::<Vec<_>>().join(", ");
        invalid(
            file,
            &format!(
                "has no column '{}'; its columns are: {there}",
                names.join("' or '")
            ),
        )
    };
    let path_at = column(path_columns).ok_or_else(|| missing(path_columns))?;
    let label_at = column(&["label"]).ok_or_else(|| missing(&["label"]))?;
    let subject_at = column(&["subject"]);
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line);
                let field = |at: usize| record.get(at).unwrap_or_default().to_owned();
                let subject = subject_at.map(field).unwrap_or_default();
                sort_in(
                    ListedRow {
                        line,
                        path: field(path_at),
                        label: field(label_at),
                        subject,
                    },
                    &mut rows,
                    &mut bad,
                );
            }
            Err(error) if matches!(error.kind(), csv::ErrorKind::Io(_)) => {
                return Err(unreadable(error));
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                bad.push(malformed(line, error.to_string()));
            }
        }
    }
    Ok((rows, bad))
}

/// The rows of a manifest with one JSON object a line. `label` may be a string or a number.
pub(crate) fn list_jsonl(file: &Path) -> Result<Rows, StoreError> {
    let unreadable = |e: std::io::Error| invalid(file, &format!("cannot be read: {e}"));
    let reader = BufReader::new(fs::File::open(file).map_err(unreadable)?);
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    for (line, text) in (1..).zip(reader.split(b'\n')) {
        let text = text.map_err(unreadable)?;
        if text.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text) {
            Ok(object) => sort_in(json_row(line, &object), &mut rows, &mut bad),
            Err(error) => bad.push(malformed(line, error.to_string())),
        }
    }
    Ok((rows, bad))
}

fn json_row(line: u64, object: &serde_json::Map<String, serde_json::Value>) -> ListedRow {
    let text = |names: &[&str]| match names.iter().find_map(|name| object.get(*name)) {
        Some(serde_json::Value::String(text)) => text.trim().to_owned(),
        Some(serde_json::Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    ListedRow {
        line,
        path: text(PATH_COLUMNS),
        label: text(&["label"]),
        subject: text(&["subject"]),
    }
}

/// Keeps a row that has a path and a label.
fn sort_in(row: ListedRow, rows: &mut Vec<ListedRow>, bad: &mut Vec<BadRow>) {
    if row.path.is_empty() {
        bad.push(malformed(row.line, "the row has no path"));
    } else if row.label.is_empty() {
        bad.push(BadRow::of(&row, "MISSING_LABEL", "the row has no label"));
    } else {
        rows.push(row);
    }
}

fn malformed(line: u64, message: impl Into<String>) -> BadRow {
    BadRow {
        line,
        path: String::new(),
        reason: "MALFORMED_ROW",
        message: message.into(),
    }
}
