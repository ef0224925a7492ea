//! Whether the synthetic images should be merged into the training data. The rule, first line that applies:
//!
//! | finding | verdict |
//! |---|---|
//! | the interval of gated - plain includes 0 or lies below | do not merge |
//! | the interval of gated - a control lies below 0 | do not merge |
//! | a control was not trained, or fewer than [`FEWEST_SEEDS`] seeds | undecided |
//! | the interval of gated - a control includes 0 | undecided |
//! | a class lost recall against plain, by Holm's correction over the classes | undecided |
//! | none of these | merge |
//!
//! All intervals are of balanced accuracy, 95 %. Controls are arms whose extra images carry nothing new: repeated real images,
//! and accepted images under labels dealt at random. A gain that they show as well is no merit of the images.

use serde::{Deserialize, Serialize};

use crate::bootstrap::Estimate;

/// Fewer trainings of an arm say too little of how much a training's luck matters.
pub const FEWEST_SEEDS: usize = 3;

/// What to do with the accepted images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// They help, and more than anything that is not theirs.
    #[serde(rename = "merge")]
    Merge,
    /// They do not help.
    #[serde(rename = "do not merge")]
    DoNotMerge,
    /// The evidence does not suffice.
    #[serde(rename = "undecided")]
    Undecided,
}

/// What the verdict rests on.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Trainings of each arm.
    pub seeds: usize,
    /// Gated minus plain; `None` where it is unknown.
    pub over_plain: Option<&'a Estimate>,
    /// Gated minus each control by name; `None` where it was not trained.
    pub over_controls: &'a [(&'a str, Option<&'a Estimate>)],
    /// Classes whose recall fell against plain.
    pub worse_classes: &'a [String],
}

/// The verdict and its reason in one sentence.
pub fn decide(evidence: &Evidence<'_>) -> (Verdict, String) {
    let Some(gain) = evidence.over_plain else {
        let reason =
            "the arms plain and gated were not both judged, so there is no gain to speak of";
        return (Verdict::Undecided, reason.into());
    };
    let gained = format!(
        "gated synthetic images change balanced accuracy by {} against plain",
        points(gain)
    );
    if !gain.is_gain() {
        let why = if gain.is_loss() {
            "which is a loss"
        } else {
            "which includes zero"
        };
        return (Verdict::DoNotMerge, format!("{gained}, {why}"));
    }
    let controls = || evidence.over_controls.iter();
    let judged = || controls().filter_map(|(name, estimate)| Some((name, (*estimate)?)));
    if let Some((name, loss)) = judged().find(|(_, estimate)| estimate.is_loss()) {
        let reason = format!(
            "{gained}, but by {} against {name}, which has nothing new in it",
            points(loss)
        );
        return (Verdict::DoNotMerge, reason);
    }
    if let Some((name, _)) = controls().find(|(_, estimate)| estimate.is_none()) {
        return (
            Verdict::Undecided,
            format!("{gained}, but {name} was not trained for comparison"),
        );
    }
    if evidence.seeds < FEWEST_SEEDS {
        let reason = format!(
            "{gained}, but {} seeds say too little of a training's luck; {FEWEST_SEEDS} are the least",
            evidence.seeds
        );
        return (Verdict::Undecided, reason);
    }
    if let Some((name, tie)) = judged().find(|(_, estimate)| !estimate.is_gain()) {
        let reason = format!(
            "{gained}, but by {} against {name}: the gain may not be the images' own",
            points(tie)
        );
        return (Verdict::Undecided, reason);
    }
    if !evidence.worse_classes.is_empty() {
        let reason = format!(
            "{gained}, but recall fell for {}",
            evidence.worse_classes.join(", ")
        );
        return (Verdict::Undecided, reason);
    }
    let beaten: Vec<String> = judged()
        .map(|(name, gain)| format!("{name} by {}", points(gain)))
        .collect();
    (
        Verdict::Merge,
        format!(
            "{gained}; they beat {}; no class lost recall",
            beaten.join(" and ")
        ),
    )
}

/// "+4.50 points (95 % interval +1.20 to +7.80)".
pub fn points(estimate: &Estimate) -> String {
    let [low, high] = estimate.interval;
    let [value, low, high] = [estimate.value, low, high].map(|share| share * 100.0);
    format!("{value:+.2} points (95 % interval {low:+.2} to {high:+.2})")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn estimate(low: f64, high: f64) -> Estimate {
        Estimate {
            value: f64::midpoint(low, high),
            interval: [low, high],
            p_value: 0.5,
        }
    }

    const GAIN: Estimate = estimate(0.01, 0.05);
    const TIE: Estimate = estimate(-0.01, 0.05);
    const LOSS: Estimate = estimate(-0.05, -0.01);

    fn verdict(
        plain: Option<&Estimate>,
        control: Option<&Estimate>,
        seeds: usize,
        worse: &[String],
    ) -> (Verdict, String) {
        decide(&Evidence {
            seeds,
            over_plain: plain,
            over_controls: &[("duplicate_tail", control), ("placebo", Some(&GAIN))],
            worse_classes: worse,
        })
    }

    #[test]
    fn every_line_of_the_rule() {
        use Verdict::*;
        let fear = ["fear".to_owned()];
        let cases = [
            (
                Some(&TIE),
                Some(&GAIN),
                5,
                &[][..],
                DoNotMerge,
                "includes zero",
            ),
            (Some(&LOSS), Some(&GAIN), 5, &[], DoNotMerge, "a loss"),
            (
                Some(&GAIN),
                Some(&LOSS),
                5,
                &[],
                DoNotMerge,
                "against duplicate_tail",
            ),
            (
                Some(&GAIN),
                None,
                5,
                &[],
                Undecided,
                "duplicate_tail was not trained",
            ),
            (Some(&GAIN), Some(&GAIN), 2, &[], Undecided, "2 seeds"),
            (
                Some(&GAIN),
                Some(&TIE),
                5,
                &[],
                Undecided,
                "may not be the images' own",
            ),
            (
                Some(&GAIN),
                Some(&GAIN),
                5,
                &fear,
                Undecided,
                "recall fell for fear",
            ),
            (
                Some(&GAIN),
                Some(&GAIN),
                3,
                &[],
                Merge,
                "+3.00 points (95 % interval +1.00 to +5.00)",
            ),
            (None, Some(&GAIN), 5, &[], Undecided, "not both judged"),
        ];
        for (plain, control, seeds, worse, expected, word) in cases {
            let (found, reason) = verdict(plain, control, seeds, worse);
            assert_eq!(found, expected, "{reason}");
            assert!(reason.contains(word), "{reason}");
        }
    }
}
