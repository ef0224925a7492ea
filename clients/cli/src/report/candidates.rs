//! What became of a run's candidates.

use super::Results;

/// How many were wanted, made, rejected and by what, and what they cost, in words.
pub fn sentence(results: &Results) -> String {
    let candidates = &results.candidates;
    let counts = candidates.rejected_by.iter();
    let mut lost: Vec<String> = counts
        .map(|(who, count)| format!("{count} rejected by {who}"))
        .collect();
    if candidates.errors > 0 {
        lost.push(format!("{} ended in an error", candidates.errors));
    }
    let mut said = format!(
        "Of {} images wanted {} were accepted; {} were made",
        candidates.planned, candidates.accepted, candidates.generated
    );
    if !lost.is_empty() {
        said += &format!(" ({})", lost.join(", "));
    }
    if candidates.cost_usd > 0.0 {
        said += &format!(" for {:.2} US dollars", candidates.cost_usd);
    }
    if candidates.open > 0 {
        said += &format!(
            ". {} were not tried to the end: more money or time may still bring them",
            candidates.open
        );
    }
    said + "."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{comparison::parse, results::tests::example};
    use serde_json::json;

    #[test]
    fn it_tells_why_candidates_are_missing_and_what_they_cost() {
        let mut results = example();
        let said = sentence(&parse(&results).unwrap());
        assert_eq!(
            said,
            "Of 30 images wanted 30 were accepted; 42 were made (5 rejected by ssim, 7 rejected by vit)."
        );
        results["candidates"]["open"] = json!(4);
        results["candidates"]["cost_usd"] = json!(1.5);
        results["candidates"]["errors"] = json!(2);
        let said = sentence(&parse(&results).unwrap());
        assert!(
            said.contains("2 ended in an error) for 1.50 US dollars. 4 were"),
            "{said}"
        );
    }
}
