//! Both models on the same golden set: the table and the sentence that sums it up.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Results;
use crate::output::{self, percent, points};

/// The comparison as a terminal table, classes in model order.
pub fn table(results: &Results) -> String {
    let mut table = output::table(["golden set", "images", "baseline", "augmented", "delta"]);
    let (baseline, augmented, delta) = (&results.baseline, &results.augmented, &results.delta);
    let total: u64 = results.golden.counts.values().sum();
    let overall = [
        (
            "accuracy",
            [baseline.accuracy, augmented.accuracy, delta.accuracy],
        ),
        (
            "balanced accuracy",
            [
                baseline.balanced_accuracy,
                augmented.balanced_accuracy,
                delta.balanced_accuracy,
            ],
        ),
        (
            "macro F1",
            [baseline.macro_f1, augmented.macro_f1, delta.macro_f1],
        ),
    ];
    for (name, figures) in overall {
        table.add_row(row(name.to_owned(), total, figures));
    }
    for label in &results.classes {
        let images = results.golden.counts.get(label).copied().unwrap_or(0);
        let recalls = [
            &baseline.per_class_recall,
            &augmented.per_class_recall,
            &delta.per_class_recall,
        ]
        .map(|recall| recall.get(label).copied().flatten());
        table.add_row(row(format!("  {label}"), images, recalls));
    }
    table.to_string()
}

/// Name, images, baseline, augmented, delta; a dash for what is unknown.
fn row(name: String, images: u64, [baseline, augmented, delta]: [Option<f64>; 3]) -> [String; 5] {
    let cell =
        |figure: Option<f64>, form: fn(f64) -> String| figure.map_or_else(|| "-".to_owned(), form);
    [
        name,
        images.to_string(),
        cell(baseline, percent),
        cell(augmented, percent),
        cell(delta, points),
    ]
}

/// What the comparison says, in words; an interval that includes zero says so.
pub fn sentence(results: &Results) -> String {
    let figures = (
        results.baseline.balanced_accuracy,
        results.augmented.balanced_accuracy,
        results.delta.balanced_accuracy,
        results.delta.balanced_accuracy_interval,
    );
    let (Some(baseline), Some(augmented), Some(delta), Some([low, high])) = figures else {
        return "The golden set holds no images, so nothing can be said about the models."
            .to_owned();
    };
    let verdict = if low > 0.0 {
        "This augmented model is better; what another training of each would give, `saga eval` tells."
    } else if high < 0.0 {
        "This augmented model is worse; what another training of each would give, `saga eval` tells."
    } else {
        "The interval includes zero: this run does not show a difference."
    };
    format!(
        "Balanced accuracy on the golden set: {} -> {} ({} points, 95 % interval {} to {}). {verdict}",
        percent(baseline),
        percent(augmented),
        points(delta),
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
        assert!(sentence(&results).contains("model is better; "));
        results.delta.balanced_accuracy_interval = Some([-0.01, 0.05]);
        assert!(sentence(&results).contains("includes zero"));
    }
}
