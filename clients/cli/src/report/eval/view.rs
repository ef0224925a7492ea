//! Figures of an evaluation arranged for the page. Places are shares of a plot's width, 0 to 1.

use orchestrator::evaluation::figures::{Comparison, Evaluation};
use saga_statistics::bootstrap::Estimate;
use serde::Serialize;

/// Classes with a p-value up to this are marked, after Holm's correction.
const LEVEL: f64 = 0.05;

/// One arm minus another.
#[derive(Debug, Serialize)]
pub struct Row {
    arm: String,
    reference: String,
    estimate: Estimate,
    well_sampled: Option<Estimate>,
    /// Left end and width of the interval, and place of the value.
    plot: [f64; 3],
    /// Classes that gained or lost, with the difference.
    classes: Vec<(String, f64)>,
}

/// All comparisons on one scale, 0 in the middle.
pub fn comparisons(evaluation: &Evaluation) -> Vec<Row> {
    let ends = evaluation
        .comparisons
        .iter()
        .flat_map(|pair| pair.balanced_accuracy.interval);
    let reach = ends.fold(0.01f64, |reach, end| reach.max(end.abs()));
    let place = |value: f64| 0.5 + value / reach / 2.0;
    let row = |pair: &Comparison| {
        let [low, high] = pair.balanced_accuracy.interval;
        let marked = pair
            .recall
            .iter()
            .filter(|(_, recall)| recall.holm_p <= LEVEL);
        Row {
            arm: pair.arm.clone(),
            reference: pair.reference.clone(),
            estimate: pair.balanced_accuracy,
            well_sampled: pair.well_sampled,
            plot: [
                place(low),
                place(high) - place(low),
                place(pair.balanced_accuracy.value),
            ],
            classes: marked
                .map(|(label, recall)| (label.clone(), recall.estimate.value))
                .collect(),
        }
    };
    evaluation.comparisons.iter().map(row).collect()
}

/// One class: its images and its recall in every arm.
#[derive(Debug, Serialize)]
pub struct ClassRow {
    label: String,
    group: String,
    train: u64,
    golden: u64,
    recalls: Vec<Option<f64>>,
}

/// Classes in label order, arms in their own.
pub fn recalls(evaluation: &Evaluation) -> Vec<ClassRow> {
    let row = |label: &String| ClassRow {
        label: label.clone(),
        group: evaluation
            .groups
            .classes
            .get(label)
            .map_or_else(String::new, |group| format!("{group:?}").to_lowercase()),
        train: evaluation.train_images.get(label).copied().unwrap_or(0),
        golden: evaluation.golden.images.get(label).copied().unwrap_or(0),
        recalls: evaluation
            .arms
            .iter()
            .map(|arm| Some(arm.recall.get(label)?.as_ref()?.value))
            .collect(),
    };
    evaluation.classes.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_share_one_scale() {
        let evaluation: Evaluation = serde_json::from_str(include_str!("example.json")).unwrap();
        let rows = comparisons(&evaluation);
        for Row {
            plot: [left, width, value],
            ..
        } in &rows
        {
            assert!(
                *left >= 0.0
                    && left + width <= 1.0 + 1e-9
                    && value >= left
                    && *value <= left + width
            );
        }
        assert_eq!(recalls(&evaluation).len(), evaluation.classes.len());
    }
}
