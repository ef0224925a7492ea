//! The studio behind the backend contract: edits pictures of its own data set, with faults at stated rates.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use prost::bytes::Bytes;

use crate::backend::{Backend, Description, Made, Outcome, Spec};
use crate::config::StudioConfig;
use crate::error::GenerateError;
use crate::parameters::Parameters;
use crate::pool::Pool;
use crate::studio::{self, FaultRates, Label, StudioError};

const PARAMETERS: [&str; 6] = [
    "wrong_expression",
    "other_identity",
    "unchanged",
    "blurred",
    "two_faces",
    "near_duplicate",
];

/// The backend named `studio`.
pub struct StudioBackend {
    config: StudioConfig,
    pool: Pool,
}

impl StudioBackend {
    /// Edits on `pool`.
    pub fn new(config: StudioConfig, pool: Pool) -> Self {
        Self { config, pool }
    }
}

impl Backend for StudioBackend {
    fn describe(&self) -> Description {
        Description {
            name: "studio",
            description: "Edits the pictures of the rendered studio data set; plants known faults at stated rates.",
            version: concat!("studio-", env!("CARGO_PKG_VERSION")).to_owned(),
            needs_source: true,
            exemplars: 0,
            deterministic: true,
            cost_usd: 0.0,
            batch_cost_usd: None,
        }
    }

    fn generate(&self, spec: Spec) -> BoxFuture<'_, Result<Made, GenerateError>> {
        let rates = self.config.faults.clone();
        Box::pin(self.pool.run(move || edit(spec, rates)))
    }
}

fn edit(spec: Spec, defaults: FaultRates) -> Result<Made, GenerateError> {
    let target: Label = spec.target_label.parse().map_err(at_target)?;
    let (rates, parameters) = rates(spec.parameters, &defaults)?;
    let source = spec.source.unwrap_or_default();
    let edited = studio::edit_image(&source, target, spec.seed, &rates).map_err(at_source)?;
    Ok(Made {
        outcome: Outcome::Image(Bytes::from(edited.jpeg)),
        parameters,
        cost_usd: 0.0,
        fault: Some(edited.fault),
    })
}

fn rates(
    given: BTreeMap<String, String>,
    defaults: &FaultRates,
) -> Result<(FaultRates, BTreeMap<String, String>), GenerateError> {
    let mut parameters = Parameters::new(given);
    let mut rate = |name, default| parameters.number(name, default, 0.0..=1.0);
    let rates = FaultRates {
        wrong_expression: rate(PARAMETERS[0], defaults.wrong_expression)?,
        other_identity: rate(PARAMETERS[1], defaults.other_identity)?,
        unchanged: rate(PARAMETERS[2], defaults.unchanged)?,
        blurred: rate(PARAMETERS[3], defaults.blurred)?,
        two_faces: rate(PARAMETERS[4], defaults.two_faces)?,
        near_duplicate: rate(PARAMETERS[5], defaults.near_duplicate)?,
    };
    parameters.check_all_read(&PARAMETERS)?;
    rates
        .validate()
        .map_err(|error| GenerateError::invalid("spec.parameters", error.to_string()))?;
    Ok((rates, parameters.in_force()))
}

fn at_target(error: StudioError) -> GenerateError {
    GenerateError::invalid("spec.target_label", error.to_string())
}

fn at_source(error: StudioError) -> GenerateError {
    match error {
        StudioError::NotJpeg
        | StudioError::NoScene
        | StudioError::Damaged(_)
        | StudioError::Size(_) => GenerateError::invalid("spec.source.data", error.to_string()),
        StudioError::UnknownLabel(_) => at_target(error),
        StudioError::Rates(_) => GenerateError::invalid("spec.parameters", error.to_string()),
        StudioError::TooMany(_) | StudioError::Encode(_) => {
            GenerateError::Internal(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::Fault;

    fn source() -> Bytes {
        let counts = BTreeMap::from([(Label::Neutral, 2)]);
        let plan = studio::plan(1, Some(&counts), 64).unwrap();
        Bytes::from(plan.items()[0].render().unwrap())
    }

    fn spec(parameters: &[(&str, &str)]) -> Spec {
        let parameters = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Spec {
            source: Some(source()),
            target_label: "fear".to_owned(),
            seed: 4,
            parameters,
            ..Spec::default()
        }
    }

    #[test]
    fn the_truth_and_the_rates_in_force_come_back() {
        let made = edit(spec(&[("blurred", "1")]), FaultRates::none()).unwrap();
        assert_eq!(made.fault, Some(Fault::Blurred));
        assert_eq!(
            (
                made.parameters["blurred"].as_str(),
                made.parameters["unchanged"].as_str()
            ),
            ("1", "0")
        );
        assert_eq!(
            made,
            edit(spec(&[("blurred", "1")]), FaultRates::none()).unwrap()
        );
    }

    #[test]
    fn bad_parameters_labels_and_sources_are_named() {
        let fails = |spec: Spec, text: &str| {
            let error = edit(spec, FaultRates::none()).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        fails(spec(&[("blurred", "-1")]), "spec.parameters[\"blurred\"]");
        fails(spec(&[("blured", "1")]), "spec.parameters[\"blured\"]");
        fails(
            spec(&[("blurred", "0.6"), ("unchanged", "0.6")]),
            "spec.parameters: fault rates",
        );
        fails(
            Spec {
                target_label: "boredom".to_owned(),
                ..spec(&[])
            },
            "spec.target_label",
        );
        fails(
            Spec {
                source: Some(Bytes::from_static(b"text")),
                ..spec(&[])
            },
            "spec.source.data",
        );
    }
}
