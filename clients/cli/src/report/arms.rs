//! Which arms (source class, target class, text, backend) got candidates accepted, and at what cost.

use super::{Results, results::Arm};
use crate::output::{self, figure, percent};

/// Arms that the terminal shows.
const SHOWN: usize = 10;

/// The arms with the most attempts as a terminal table; `None` where there are none.
pub fn table(results: &Results) -> Option<String> {
    let mut arms: Vec<&Arm> = results.arms.iter().collect();
    arms.sort_by_key(|arm| std::cmp::Reverse(arm.attempts));
    let shown = arms.len().min(SHOWN);
    let mut table = output::table(["arm", "attempts", "accepted", "rate", "$ each"]);
    for arm in arms.iter().take(shown) {
        table.add_row([
            format!(
                "{} -> {}: {} ({})",
                arm.source, arm.target, arm.text, arm.backend
            ),
            arm.attempts.to_string(),
            arm.accepted.to_string(),
            percent(arm.accept_rate),
            arm.usd_per_accepted.map_or_else(|| "-".to_owned(), figure),
        ]);
    }
    (shown > 0).then(|| {
        format!(
            "{table}\n{shown} of {} arms; the report has all",
            arms.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{comparison::parse, results::tests::example};

    #[test]
    fn the_busiest_arms_come_first() {
        let mut results = parse(&example()).unwrap();
        for attempts in 1..=20 {
            let text = format!("text {attempts}");
            results.arms.push(Arm {
                text,
                attempts,
                usd_per_accepted: None,
                ..results.arms[0].clone()
            });
        }
        let table = table(&results).unwrap();
        assert!(
            table.contains("neutral -> contempt: a contemptuous face (studio)"),
            "{table}"
        );
        assert!(
            table.contains("71.43 %") && table.contains("0.050"),
            "{table}"
        );
        assert!(
            table.contains("text 12 ") && !table.contains("text 11 "),
            "{table}"
        );
        assert!(
            table.ends_with("10 of 21 arms; the report has all"),
            "{table}"
        );
        results.arms.clear();
        assert_eq!(super::table(&results), None);
    }
}
