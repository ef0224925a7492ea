//! Figures of a run arranged for the report's plots. Shares are 0 to 1.

use serde::Serialize;

use super::{
    Results,
    results::{Model, SplitCounts},
};
use crate::output::percent;

/// One class: its images and both recalls.
#[derive(Debug, Serialize)]
pub struct ClassRow {
    label: String,
    real: u32,
    synthetic: u32,
    golden: u32,
    /// Shares of the largest class's bar.
    real_share: f64,
    synthetic_share: f64,
    baseline: Option<f64>,
    augmented: Option<f64>,
    delta: Option<f64>,
}

/// One bar of a plot.
#[derive(Debug, Serialize)]
pub struct Bar {
    name: String,
    value: f64,
    share: f64,
}

/// One kind of planted fault and what the guard did with it.
#[derive(Debug, Serialize)]
pub struct FaultRow {
    name: String,
    /// A good edit, which the guard should let through.
    should_pass: bool,
    generated: u64,
    passed_gates: u64,
    admitted: u64,
    passed_share: f64,
}

/// One confusion matrix; rows are normalised.
#[derive(Debug, Serialize)]
pub struct Confusion {
    name: &'static str,
    rows: Vec<ConfusionRow>,
}

#[derive(Debug, Serialize)]
struct ConfusionRow {
    label: String,
    cells: Vec<ConfusionCell>,
}

#[derive(Debug, Serialize)]
struct ConfusionCell {
    count: u64,
    share: f64,
    correct: bool,
}

/// Sizes of the splits, and how much of what the augmented model trained on is synthetic, in words.
pub fn images(results: &Results) -> String {
    let splits = results.dataset.splits.values();
    let size = |of: fn(&SplitCounts) -> u32| splits.clone().map(of).sum::<u32>();
    let (train, synthetic) = (
        u64::from(size(|split| split.train)),
        results.candidates.accepted,
    );
    format!(
        "Real images: {train} train, {} val, {} calibration, {} golden. Of the {} images that the augmented model trained on {synthetic} \
         are synthetic ({}).",
        size(|split| split.val),
        size(|split| split.calibration),
        size(|split| split.golden),
        train + synthetic,
        percent(synthetic as f64 / (train + synthetic).max(1) as f64),
    )
}

/// Classes in model order.
pub fn classes(results: &Results) -> Vec<ClassRow> {
    let real = |label: &String| {
        results
            .dataset
            .splits
            .get(label)
            .copied()
            .unwrap_or_default()
    };
    let synthetic = |label: &String| {
        results
            .candidates
            .accepted_by_class
            .get(label)
            .copied()
            .unwrap_or(0)
    };
    let largest = results
        .classes
        .iter()
        .map(|label| real(label).train + synthetic(label))
        .max();
    let largest = f64::from(largest.unwrap_or(0).max(1));
    let recall =
        |model: &Model, label: &String| model.per_class_recall.get(label).copied().flatten();
    results
        .classes
        .iter()
        .map(|label| {
            let (real, synthetic) = (real(label), synthetic(label));
            ClassRow {
                label: label.clone(),
                real: real.train,
                synthetic,
                golden: real.golden,
                real_share: f64::from(real.train) / largest,
                synthetic_share: f64::from(synthetic) / largest,
                baseline: recall(&results.baseline, label),
                augmented: recall(&results.augmented, label),
                delta: results.delta.per_class_recall.get(label).copied().flatten(),
            }
        })
        .collect()
}

/// Generated, then what each rejection took away, then accepted.
pub fn funnel(results: &Results) -> Vec<Bar> {
    let candidates = &results.candidates;
    let mut bars = vec![("generated".to_owned(), candidates.generated)];
    bars.extend(
        candidates
            .rejected_by
            .iter()
            .map(|(gate, &count)| (format!("rejected by {gate}"), count)),
    );
    if candidates.errors > 0 {
        bars.push(("errors".to_owned(), candidates.errors));
    }
    bars.push(("accepted".to_owned(), candidates.accepted));
    let whole = candidates.generated.max(1) as f64;
    bars.into_iter()
        .map(|(name, count)| Bar {
            name,
            value: count as f64,
            share: count as f64 / whole,
        })
        .collect()
}

/// Planted faults by kind; empty where the generator does not know.
pub fn faults(results: &Results) -> Vec<FaultRow> {
    let row = |(name, counts): (&String, &super::results::FaultCounts)| FaultRow {
        name: if name == "none" {
            "good edit".to_owned()
        } else {
            name.replace('_', " ")
        },
        should_pass: name == "none",
        generated: counts.generated,
        passed_gates: counts.passed_gates,
        admitted: counts.admitted,
        passed_share: counts.passed_gates as f64 / counts.generated.max(1) as f64,
    };
    results.guard.by_fault.iter().map(row).collect()
}

/// Seconds by stage, longest first.
pub fn stages(results: &Results) -> Vec<Bar> {
    let whole: f64 = results.seconds.values().sum();
    let mut bars: Vec<Bar> = results
        .seconds
        .iter()
        .map(|(name, &seconds)| Bar {
            name: name.clone(),
            value: seconds,
            share: seconds / whole.max(1e-9),
        })
        .collect();
    bars.sort_by(|a, b| b.value.total_cmp(&a.value));
    bars
}

/// Both models' confusion matrices.
pub fn confusions(results: &Results) -> [Confusion; 2] {
    [
        ("baseline", &results.baseline),
        ("augmented", &results.augmented),
    ]
    .map(|(name, model)| Confusion {
        name,
        rows: results
            .classes
            .iter()
            .zip(&model.confusion)
            .enumerate()
            .map(|(row, (label, counts))| {
                let whole = counts.iter().sum::<u64>().max(1) as f64;
                let cell = |(column, &count): (usize, &u64)| ConfusionCell {
                    count,
                    share: count as f64 / whole,
                    correct: row == column,
                };
                ConfusionRow {
                    label: label.clone(),
                    cells: counts.iter().enumerate().map(cell).collect(),
                }
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{comparison::parse, html, results::tests::example};

    #[test]
    fn shares_are_of_the_right_whole() {
        let results = parse(&example()).unwrap();
        let classes = classes(&results);
        assert_eq!(classes[0].real_share, 1.0);
        assert_eq!((classes[1].real, classes[1].synthetic), (20, 30));
        assert_eq!(funnel(&results).last().unwrap().share, 30.0 / 42.0);
        assert_eq!(confusions(&results)[1].rows[1].cells[1].share, 0.6);
        assert_eq!(stages(&results)[0].name, "baseline");
    }
    #[test]
    fn the_page_tells_split_sizes_the_synthetic_share_and_the_time() {
        let page = html(&parse(&example()).unwrap(), &[], &[]).unwrap();
        for text in [
            "80 train, 15 val, 15 calibration, 30 golden",
            "Of the 110 images that the augmented model trained on 30 are synthetic (27.27 %)",
            "61.5 s in all stages",
        ] {
            assert!(page.contains(text), "{text}");
        }
    }
}
