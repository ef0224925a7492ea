//! Settings of a run beside its recipe: what a request says, and what is on record.

use saga_proto::{labelstore::v1::GetRunResponse, orchestrator::v1::StartRunRequest};
use serde::{Deserialize, Serialize};

use super::{RunError, stage};

/// Stage under which a run's [`Options`] are recorded; no work belongs to it.
pub(super) const OPTIONS_STAGE: &str = "start";

/// Settings of a run beside its recipe, recorded before its first stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Folder of the data set on the label store's machine.
    pub dataset_path: String,
    /// Plans a trial only.
    pub test_mode: bool,
    /// Prefix of the models' directories; may be empty.
    pub models_prefix: String,
}

/// The request's options; for a known run those on record, which the request may leave out but not change.
pub(super) fn options_of(
    request: &StartRunRequest,
    run_id: &str,
    known: Option<&GetRunResponse>,
) -> Result<Options, RunError> {
    let recorded = known.map(options_on_record).transpose()?.flatten();
    match recorded {
        Some(options) if request.dataset_path.is_empty() => Ok(options),
        None if request.dataset_path.is_empty() => Err(RunError::Invalid {
            field: "dataset_path",
            why: "is empty; give the folder of the data set".into(),
        }),
        recorded => {
            let prefix = request
                .models_prefix
                .clone()
                .or(recorded.map(|options| options.models_prefix));
            Ok(Options {
                dataset_path: request.dataset_path.clone(),
                test_mode: request.test_mode,
                models_prefix: prefix.unwrap_or_else(|| run_id.to_owned()),
            })
        }
    }
}

pub(super) fn max_cost(request: &StartRunRequest) -> Result<Option<f64>, RunError> {
    match request.max_cost_usd {
        Some(usd) if !usd.is_finite() || usd < 0.0 => Err(RunError::Invalid {
            field: "max_cost_usd",
            why: format!("is {usd}; give US dollars, at least 0"),
        }),
        most => Ok(most),
    }
}

pub(super) fn options_on_record(known: &GetRunResponse) -> Result<Option<Options>, RunError> {
    let stage = known
        .stages
        .iter()
        .find(|stage| stage.name == OPTIONS_STAGE);
    stage
        .map(|stage| {
            serde_json::from_str(&stage.result_json)
                .map_err(|error| stage::unusable(OPTIONS_STAGE, &error))
        })
        .transpose()
}

pub(super) fn conflict(run_id: &str, options: &Options) -> RunError {
    let why = format!(
        "was started with data set {}, test mode {} and models prefix {:?}; use the same or another run id",
        options.dataset_path, options.test_mode, options.models_prefix
    );
    RunError::Conflict {
        run_id: run_id.to_owned(),
        why,
    }
}
