//! The report of a load test: one HTML page that works offline, its plots inline SVG.

mod view;

use anyhow::Result;
use minijinja::{Value, context, value::Serde};
use saga_load::Report;

use crate::commands::load::sentences;

/// Renders the page.
pub fn html(report: &Report) -> Result<String> {
    let values = context! {
        report => Value::from(Serde(report)),
        failure => report.check().err().map(|why| why.to_string()),
        sentences => sentences(report),
        plots => Value::from(Serde(view::plots(report))),
        rows => Value::from(Serde(view::rows(report))),
        batches => Value::from(Serde(view::batches(report))),
        stages => Value::from(Serde(view::stages(report))),
    };
    super::page(include_str!("load.html"), values)
}
