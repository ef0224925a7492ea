//! Whether the local diffusion model repeated what it was trained on.

use super::Results;
use crate::output::{figure, percent};

/// What the candidates' nearest training images say, in words; `None` where no such model made any.
pub fn sentence(results: &Results) -> Option<String> {
    let found = results.memorisation.as_ref()?;
    let share = found.nearer_than_most as f64 / found.candidates.max(1) as f64;
    Some(format!(
        "Of {} candidates of the local diffusion model, {} ({}) lie nearer to a training image other than their source than 95 % of \
         training images lie to each other, which is to be expected of 5 %; {} lie nearer than any do. The nearest, {}, differs from \
         {} by {} grey levels at 32x32 pixels.",
        found.candidates,
        found.nearer_than_most,
        percent(share),
        found.nearer_than_any,
        found.nearest.candidate_id,
        found.nearest.image_id,
        figure(found.nearest.distance),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{comparison::parse, results::tests::example};
    use serde_json::json;

    #[test]
    fn it_says_what_is_expected_and_names_the_nearest() {
        let mut results = example();
        assert_eq!(sentence(&parse(&results).unwrap()), None);
        results["memorisation"] = json!({
            "candidates": 40, "nearer_than_any": 1, "nearer_than_most": 3, "median_share": 0.4,
            "nearest": {"candidate_id": "abc", "image_id": "def", "distance": 1.5, "share": 0.0},
        });
        let said = sentence(&parse(&results).unwrap()).unwrap();
        assert!(
            said.contains("Of 40 candidates") && said.contains("3 (7.50 %)"),
            "{said}"
        );
        assert!(
            said.contains("abc") && said.contains("def by 1.5"),
            "{said}"
        );
    }
}
