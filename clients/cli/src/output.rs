//! Tables for people, JSON for programs.

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

/// A table with a header; columns after the first are right-aligned.
pub fn table<H: Into<String>>(header: impl IntoIterator<Item = H>) -> Table {
    let header: Vec<String> = header.into_iter().map(Into::into).collect();
    let columns = header.len();
    let mut table = Table::new();
    table
        .load_style(UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for index in 1..columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Prints `value` as indented JSON.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// `0.6467` as `64.67 %`.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A difference of two shares in percentage points, with its sign.
pub fn points(delta: f64) -> String {
    format!("{:+.2}", delta * 100.0)
}

/// A rate or a time with three digits that matter: `0.123`, `4.56`, `78.9`, `1234`.
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_as_percentages() {
        assert_eq!(percent(0.6467), "64.67 %");
        assert_eq!(points(0.045), "+4.50");
        assert_eq!(points(-0.001), "-0.10");
    }

    #[test]
    fn figures_have_the_digits_that_matter() {
        let texts = [0.1234, 4.567, 78.91, 1234.5].map(figure);
        assert_eq!(texts, ["0.123", "4.57", "78.9", "1234"]);
    }
}
