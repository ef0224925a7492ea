//! Checks any gate at an address, one's own or a third party's, against the gate contract.
//!
//! ```no_run
//! use saga_client::conformance::{Fixtures, check};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let fixtures = Fixtures {
//!     source: std::fs::read("source.jpg")?.into(),
//!     candidate: std::fs::read("candidate.jpg")?.into(),
//!     target_label: "happy".to_owned(),
//!     prompt: "a photo of a happy face".to_owned(),
//! };
//! let report = check("127.0.0.1:50052", &fixtures).await?;
//! println!("{report}");
//! assert!(report.passed());
//! # Ok(())
//! # }
//! ```

mod departures;
mod items;
mod png;
mod refusals;
mod streams;
mod subject;
mod verdicts;

use std::fmt;

use prost::bytes::Bytes;

use crate::connect::ConnectError;
pub use png::png_declaring;
use subject::Subject;

/// Inputs that the gate under test can judge.
#[derive(Debug, Clone)]
pub struct Fixtures {
    /// An encoded image.
    pub source: Bytes,
    /// Another encoded image, of a score that lies inside the range of the gate's thresholds.
    pub candidate: Bytes,
    /// A label that the gate knows.
    pub target_label: String,
    /// A text that the gate can judge.
    pub prompt: String,
}

/// One promise of the contract and whether it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The promise.
    pub promise: String,
    /// What happened instead; absent where it was kept.
    pub failure: Option<String>,
}

/// All checks of one gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where the gate answers.
    pub address: String,
    /// The name it gave itself.
    pub gate: String,
    /// In the order they were made.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether every promise was kept.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.failure.is_none())
    }

    fn add(&mut self, promise: impl Into<String>, outcome: Result<(), String>) {
        self.checks.push(Check {
            promise: promise.into(),
            failure: outcome.err(),
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self
            .checks
            .iter()
            .filter(|check| check.failure.is_some())
            .count();
        writeln!(
            formatter,
            "gate \"{}\" at {}: {} checks, {failed} failed",
            self.gate,
            self.address,
            self.checks.len()
        )?;
        for check in &self.checks {
            match &check.failure {
                None => writeln!(formatter, "  ok    {}", check.promise)?,
                Some(failure) => {
                    writeln!(formatter, "  FAIL  {}\n        {failure}", check.promise)?
                }
            }
        }
        Ok(())
    }
}

/// Runs every check against the gate at `address`. Some 100 small calls; nothing is stored.
///
/// # Errors
/// Only where nobody answers at `address`; what the gate does wrong stands in the report.
pub async fn check(address: &str, fixtures: &Fixtures) -> Result<Report, ConnectError> {
    let transport = crate::connect(address).await?;
    let mut report = Report {
        address: address.to_owned(),
        gate: String::new(),
        checks: Vec::new(),
    };
    match Subject::meet(transport, fixtures.clone()).await {
        Err(failure) => report.add("Describe answers", Err(failure)),
        Ok(mut subject) => {
            report.gate.clone_from(&subject.description.name);
            verdicts::check(&mut subject, &mut report).await;
            refusals::check(&mut subject, &mut report).await;
            streams::check(&mut subject, &mut report).await;
            departures::check(&mut subject, &mut report).await;
        }
    }
    Ok(report)
}
