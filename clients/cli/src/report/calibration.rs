//! How the thresholds of a run's gates were chosen.

use super::Results;
use crate::output::percent;

/// The promise, and how many thresholds keep it, in words; `None` where the thresholds are the recipe's.
pub fn sentence(results: &Results) -> Option<String> {
    let found = results.calibration.as_ref()?;
    let (certified, all) = found.certified();
    let mut said = format!(
        "On the calibration split {certified} of {all} thresholds were chosen so that at most {} of bad candidates pass the gate, \
         with {} confidence",
        percent(found.promise.max_bad_accepts),
        percent(found.promise.confidence),
    );
    if certified < all {
        said += "; for the others none could be certified, and the recipe's stay";
    }
    Some(said + ". " + &found.assumption)
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
        results["calibration"] = json!({
            "run_id": "run-1", "promise": {"max_bad_accepts": 0.1, "confidence": 0.9}, "assumption": "As drawn.",
            "gates_toml": "", "gates": [{"gate": "ssim", "bad": "edits of another person", "classes": {
                "contempt": {"bad": 80, "good": 70, "before": null, "good_accepted": 61, "repeated": repeated,
                    "certified": {"min": 0.215, "bad_accepted": 4, "bound": 0.097}},
                "neutral": {"bad": 9, "good": 9, "before": null, "good_accepted": null, "repeated": repeated, "certified": null},
            }}],
        });
        let results = parse(&results).unwrap();
        let said = sentence(&results).unwrap();
        assert!(
            said.contains("1 of 2 thresholds") && said.contains("10.00 %") && said.contains("stay"),
            "{said}"
        );
        let page = html(&results, &[], &[]).unwrap();
        assert!(
            page.contains("4 of 80") && page.contains("61 of 70") && page.contains("as before")
        );
    }
}
