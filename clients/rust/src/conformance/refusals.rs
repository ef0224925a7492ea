//! Bad items are refused with INVALID_ARGUMENT and a BadRequest that names the field.

use super::Report;
use super::items::bad_items;
use super::subject::{Subject, refuses};

pub(super) async fn check(subject: &mut Subject, report: &mut Report) {
    for bad in bad_items(subject) {
        let outcome = match subject.evaluate(bad.item).await {
            Ok(verdict) => Err(format!("a verdict with score {}", verdict.score)),
            Err(status) => refuses(&status, bad.field),
        };
        report.add(
            format!("{} is refused, naming {}", bad.what, bad.field),
            outcome,
        );
    }
}
