//! How the thresholds of a run's gates were chosen, in words and as files.

use std::path::Path;

use anyhow::Result;
use orchestrator::results::Calibration;

use super::Results;
use crate::output::percent;

/// Writes every figure, and the gates as a recipe has them.
pub fn write(out: &Path, calibration: &Calibration) -> Result<()> {
    saga_export::write(
        &out.join("calibration.json"),
        serde_json::to_string_pretty(calibration)?,
    )?;
    saga_export::write(&out.join("gates.toml"), &calibration.gates_toml)?;
    Ok(())
}

/// The promise, and how many thresholds keep it, in words; `None` where the thresholds are the recipe's.
pub fn sentence(results: &Results) -> Option<String> {
    let found = results.calibration.as_ref()?;
    if found.gates.is_empty() {
        return Some("For want of bad candidates that a gate could tell, all thresholds are the recipe's own.".to_owned());
    }
    let (certified, all) = (found.certified(), found.classes.len());
    let mut said = format!(
        "On the calibration split thresholds were chosen for {certified} of {all} classes, so that {} let at most {} of bad \
         candidates through together, with {} confidence",
        found.gates.join(", "),
        percent(found.promise.max_bad_accepts),
        percent(found.promise.confidence),
    );
    if certified < all {
        said += "; for the others none could be certified, and the recipe's stay";
    }
    Some(format!("{said}. Bad: {}. {}", found.bad, found.assumption))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{comparison::parse, html, results::tests::example};
    use serde_json::json;

    #[test]
    fn it_says_what_is_promised_and_where_it_is_not() {
        let mut results = example();
        assert_eq!(sentence(&parse(&results).unwrap()), None);
        let repeated = json!({"repetitions": 200, "certified": 200, "kept": 190});
        let counts = |bad: u64, good: u64| json!({"bad": bad, "good": good});
        results["calibration"] = json!({
            "run_id": "run-1", "promise": {"max_bad_accepts": 0.1, "confidence": 0.9}, "assumption": "As drawn.",
            "bad": "edits of another person", "gates_toml": "", "gates": ["ssim", "vit"], "classes": {
                "contempt": {"judged": counts(80, 70), "before": counts(9, 61), "repeated": repeated, "chosen": {
                    "min": {"ssim": 0.215, "vit": 0.5}, "accepted": counts(4, 66), "bound": 0.097}},
                "neutral": {"judged": counts(9, 9), "before": counts(1, 8), "repeated": repeated, "chosen": null},
            },
        });
        let results = parse(&results).unwrap();
        let said = sentence(&results).unwrap();
        assert!(
            said.contains("1 of 2 classes") && said.contains("10.00 %") && said.contains("stay"),
            "{said}"
        );
        let page = html(&results, &[], &[]).unwrap();
        assert!(
            page.contains("4 of 80") && page.contains("66 of 70") && page.contains("as before")
        );
    }
}
