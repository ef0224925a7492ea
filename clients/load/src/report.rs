//! What a whole load test found, and whether it can be believed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{knee::Knee, run::Options, step::Step};

/// The result of a load test.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The gate.
    pub gate: Gate,
    /// Seconds since 1970 at which the load began.
    pub started: f64,
    /// Distinct items, sent in turn.
    pub items: usize,
    /// Connections, used in turn.
    pub connections: usize,
    /// As asked for.
    pub options: Options,
    /// In the order they were run.
    pub steps: Vec<Step>,
    /// Throughput of the closed loop in a sweep, per second.
    pub peak: Option<f64>,
    /// In a sweep; see [`knee`](crate::knee::knee).
    pub knee: Option<Knee>,
    /// Somebody ended it early; the figures cover what was measured until then.
    pub interrupted: bool,
}

/// Which gate was under load.
#[derive(Debug, Clone, Serialize)]
pub struct Gate {
    /// As given.
    pub address: String,
    /// As the gate calls itself.
    pub name: String,
    /// As the gate describes itself.
    pub description: String,
    /// Name, id and revision of its model, where it has one.
    pub model: Option<String>,
}

/// Why the figures are not good ones, the gravest first.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// Speed does not matter where answers are wrong.
    #[error(
        "{count} answers under load differ by more than {tolerance} from the same item asked alone; the first: {first}"
    )]
    Mismatches {
        /// Of all steps.
        count: u64,
        /// What may differ.
        tolerance: f64,
        /// In words.
        first: String,
    },
    /// The gate did nothing.
    #[error("no request was answered OK: {outcomes}")]
    NothingAnswered {
        /// Answers by code.
        outcomes: String,
    },
    /// Ctrl-C.
    #[error("interrupted; the figures cover what was measured until then")]
    Interrupted,
    /// The generator could not keep its schedule.
    #[error(
        "void: at step {step} the generator itself sent 1 % of the requests more than {p99_ms:.1} ms late, and {limit_ms:.1} ms are allowed; give it a machine of its own, a lower rate, or --max-lateness"
    )]
    Void {
        /// The first such step.
        step: String,
        /// Its lateness.
        p99_ms: f64,
        /// What it may be.
        limit_ms: f64,
    },
}

impl Report {
    /// Answers that differ from the oracle's.
    #[must_use]
    pub fn mismatches(&self) -> u64 {
        self.steps.iter().map(|step| step.mismatches).sum()
    }

    /// Whether the figures can be believed.
    ///
    /// # Errors
    /// The gravest reason why not.
    pub fn check(&self) -> Result<(), Failure> {
        let mut first = self
            .steps
            .iter()
            .filter_map(|step| step.first_mismatch.as_ref());
        if let Some(first) = first.next() {
            return Err(Failure::Mismatches {
                count: self.mismatches(),
                tolerance: self.options.tolerance,
                first: first.clone(),
            });
        }
        if self.interrupted {
            return Err(Failure::Interrupted);
        }
        if self.steps.iter().all(|step| step.answers("OK") == 0) {
            return Err(Failure::NothingAnswered {
                outcomes: outcomes(&self.steps),
            });
        }
        for step in &self.steps {
            if let Some(lateness) = step.lateness.filter(|lateness| lateness.void) {
                return Err(Failure::Void {
                    step: step.name.clone(),
                    p99_ms: lateness.p99_ms,
                    limit_ms: lateness.limit_ms,
                });
            }
        }
        Ok(())
    }
}

fn outcomes(steps: &[Step]) -> String {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (code, count) in steps.iter().flat_map(|step| &step.outcomes) {
        *sums.entry(code).or_default() += count;
    }
    if sums.is_empty() {
        return "none was due in the time measured; raise the duration or the rate".to_owned();
    }
    let parts: Vec<_> = sums
        .iter()
        .map(|(code, count)| format!("{count} {code}"))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::step::Lateness;

    fn report(steps: Vec<Step>) -> Report {
        let gate = Gate {
            address: "127.0.0.1:50052".to_owned(),
            name: "ssim".to_owned(),
            description: "Structural similarity".to_owned(),
            model: None,
        };
        let options = Options {
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(1),
            deadline: Duration::from_secs(1),
            max_lateness: Duration::from_millis(5),
            tolerance: 1e-3,
            seed: 1,
        };
        Report {
            gate,
            started: 0.0,
            items: 4,
            connections: 1,
            options,
            steps,
            peak: None,
            knee: None,
            interrupted: false,
        }
    }

    #[test]
    fn the_gravest_reason_comes_first() {
        let mut late = Step::example(10.0);
        late.lateness = Some(Lateness {
            p99_ms: 9.0,
            max_ms: 20.0,
            limit_ms: 5.0,
            void: true,
        });
        let mut report = report(vec![Step::example(5.0), late]);
        let void = report.check().unwrap_err();
        assert!(
            matches!(&void, Failure::Void { step, .. } if step == "10"),
            "{void}"
        );
        for step in &mut report.steps {
            step.outcomes = BTreeMap::from([("INTERNAL".to_owned(), 7)]);
        }
        let nothing = report.check().unwrap_err();
        assert!(nothing.to_string().contains("14 INTERNAL"), "{nothing}");
        report.interrupted = true;
        assert_eq!(report.check(), Err(Failure::Interrupted));
        if let Some(step) = report.steps.first_mut() {
            (step.mismatches, step.first_mismatch) = (3, Some("a.jpg".to_owned()));
        }
        assert!(matches!(
            report.check(),
            Err(Failure::Mismatches { count: 3, .. })
        ));
    }

    #[test]
    fn a_load_without_a_request_says_so() {
        let mut empty = Step::example(10.0);
        empty.outcomes.clear();
        let nothing = report(vec![empty]).check().unwrap_err();
        assert!(
            nothing.to_string().contains("raise the duration"),
            "{nothing}"
        );
    }
}
