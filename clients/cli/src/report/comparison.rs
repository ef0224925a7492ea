//! Both models on the same golden set: the table and the sentence that sums it up.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Results;
use crate::output::{self, percent, points};

/// The comparison as a terminal table, classes in model order.
pub fn table(results: &Results) -> String {
    let mut table = output::table(["golden set", "images", "baseline", "augmented", "delta"]);
    let total: u32 = results.golden.counts.values().sum();
    let overall = [
        ("accuracy", results.baseline.accuracy, results.augmented.accuracy, results.delta.accuracy),
        (
            "balanced accuracy",
            results.baseline.balanced_accuracy,
            results.augmented.balanced_accuracy,
            results.delta.balanced_accuracy,
        ),
        ("macro F1", results.baseline.macro_f1, results.augmented.macro_f1, results.delta.macro_f1),
    ];
    for (name, baseline, augmented, delta) in overall {
        table.add_row([name.to_owned(), total.to_string(), percent(baseline), percent(augmented), points(delta)]);
    }
    for label in &results.classes {
        let cell = |recall: Option<&Option<f64>>, form: fn(f64) -> String| {
            recall.copied().flatten().map_or_else(|| "-".to_owned(), form)
        };
        table.add_row([
            format!("  {label}"),
            results.golden.counts.get(label).copied().unwrap_or(0).to_string(),
            cell(results.baseline.per_class_recall.get(label), percent),
            cell(results.augmented.per_class_recall.get(label), percent),
            cell(results.delta.per_class_recall.get(label), points),
        ]);
    }
    table.to_string()
}

/// What the comparison says, in words; an interval that includes zero says so.
pub fn sentence(results: &Results) -> String {
    let delta = &results.delta;
    let [low, high] = delta.balanced_accuracy_interval;
    let verdict = if low > 0.0 {
        "The augmented model is better."
    } else if high < 0.0 {
        "The augmented model is worse."
    } else {
        "The interval includes zero: this run does not show a difference."
    };
    format!(
        "Balanced accuracy on the golden set: {} -> {} ({} points, 95 % interval {} to {}). {verdict}",
        percent(results.baseline.balanced_accuracy),
        percent(results.augmented.balanced_accuracy),
        points(delta.balanced_accuracy),
        points(low),
        points(high),
    )
}

/// Reads what is shown from the orchestrator's JSON.
pub fn parse(results: &Value) -> Result<Results> {
    serde_json::from_value(results.clone()).context("the results lack what the report shows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::tests::example;

    #[test]
    fn the_table_has_every_class_and_its_delta() {
        let table = table(&parse(&example()).unwrap());
        for text in ["contempt", "52.67 %", "59.33 %", "+6.66", "+4.50"] {
            assert!(table.contains(text), "{text} is missing in\n{table}");
        }
    }

    #[test]
    fn an_interval_with_zero_is_no_gain() {
        let mut results = parse(&example()).unwrap();
        assert!(sentence(&results).ends_with("better."));
        results.delta.balanced_accuracy_interval = [-0.01, 0.05];
        assert!(sentence(&results).contains("includes zero"));
    }
}
