//! The report of `saga eval`: one HTML page that works offline, and the table and sentence of the terminal.

mod view;

use anyhow::Result;
use minijinja::{Value, context, value::Serde};
use orchestrator::evaluation::figures::Evaluation;
use saga_statistics::{bootstrap::FEWEST_SUBJECTS, verdict::Verdict};

use crate::output::{self, percent, points};

/// Renders the page.
pub fn html(evaluation: &Evaluation) -> Result<String> {
    let values = context! {
        evaluation => Value::from(Serde(evaluation)),
        sentence => sentence(evaluation),
        fewest_subjects => FEWEST_SUBJECTS,
        added => evaluation.arms.iter().map(|arm| arm.added.values().sum::<u64>()).collect::<Vec<_>>(),
        comparisons => Value::from(Serde(view::comparisons(evaluation))),
        recalls => Value::from(Serde(view::recalls(evaluation))),
    };
    super::page(include_str!("eval.html"), values)
}

/// The arms as a terminal table.
pub fn table(evaluation: &Evaluation) -> String {
    let mut table = output::table([
        "arm",
        "added",
        "balanced accuracy",
        "95 % interval",
        "against plain",
        "accuracy",
        "macro F1",
        "ECE",
    ]);
    for arm in &evaluation.arms {
        let against = evaluation
            .comparisons
            .iter()
            .find(|pair| pair.arm == arm.name && pair.reference == "plain");
        let [low, high] = arm.balanced_accuracy.interval;
        table.add_row([
            arm.name.clone(),
            arm.added.values().sum::<u64>().to_string(),
            percent(arm.balanced_accuracy.value),
            format!("{} to {}", percent(low), percent(high)),
            against.map_or_else(
                || "-".to_owned(),
                |pair| points(pair.balanced_accuracy.value),
            ),
            percent(arm.accuracy.value),
            percent(arm.macro_f1),
            format!("{:.3}", arm.calibration_error),
        ]);
    }
    table.to_string()
}

/// The verdict and its reason; a golden set that was read before says so.
pub fn sentence(evaluation: &Evaluation) -> String {
    let verdict = match evaluation.verdict {
        Verdict::Merge => "Merge",
        Verdict::DoNotMerge => "Do not merge",
        Verdict::Undecided => "Undecided",
    };
    let again = if evaluation.golden.read_again {
        " This golden set was read by an evaluation of the same run before: what was changed since then may be fitted to it."
    } else {
        ""
    };
    format!("{verdict}: {}.{again}", evaluation.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Evaluation {
        serde_json::from_str(include_str!("example.json")).unwrap()
    }

    #[test]
    fn the_page_tells_verdict_arms_and_a_second_read() {
        let mut evaluation = example();
        let page = html(&evaluation).unwrap();
        assert!(page.contains("Do not merge") && page.contains("duplicate_tail"));
        assert!(!page.contains("was read by an evaluation"));
        assert!(!page.contains("http://") && !page.contains("https://"));
        evaluation.golden.read_again = true;
        evaluation.golden.well_sampled = vec!["neutral".into(), "happy".into()];
        evaluation.comparisons[0].well_sampled = Some(evaluation.comparisons[0].accuracy);
        assert!(html(&evaluation).unwrap().contains("neutral, happy"));
        assert!(
            html(&evaluation)
                .unwrap()
                .contains("was read by an evaluation")
        );
    }

    #[test]
    fn the_table_has_every_arm() {
        let evaluation = example();
        let table = table(&evaluation);
        assert!(
            evaluation.arms.iter().all(|arm| table.contains(&arm.name)),
            "{table}"
        );
    }
}
