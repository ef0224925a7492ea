//! Work on a finished run: evaluations and calibrations. Alone as a run is, since both use the gates' models.

use std::sync::Arc;

use saga_proto::{
    labelstore::v1::Stage,
    orchestrator::v1::{
        RunFailed, RunFinished, StartRunRequest, WatchRunResponse, watch_run_response::Event,
    },
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::DropGuard;
use tonic::Status;

use super::{
    super::{calibration, stage::recorded},
    Active, RESULTS_STAGE, RunContext, RunError, Runs, under_way, unfinished, unknown,
};
use crate::results::Calibration;

impl Runs {
    /// Starts work on a finished run; answers what happens in it, to its end, and a guard that cancels it when dropped.
    ///
    /// # Errors
    /// An unknown or unfinished run, another run under way, no label store; what `work` refuses at once.
    pub(crate) async fn after<W>(
        &self,
        run_id: &str,
        name: &str,
        work: impl FnOnce(Arc<RunContext>, Vec<Stage>) -> Result<W, RunError>,
    ) -> Result<(ReceiverStream<Result<WatchRunResponse, Status>>, DropGuard), RunError>
    where
        W: Future<Output = Result<String, RunError>> + Send + 'static,
    {
        let mut latest = self.latest.lock().await;
        if let Some(active) = under_way(&latest) {
            return Err(active.busy());
        }
        let known = self.known(run_id).await?.ok_or_else(|| unknown(run_id))?;
        if known.stages.iter().all(|stage| stage.name != RESULTS_STAGE) {
            return Err(unfinished(run_id));
        }
        let (context, _) = self.prepare(&StartRunRequest::default(), run_id, Some(&known))?;
        let calibration = calibration_of(&known.stages)?;
        let context = Arc::new(context.calibrated(calibration.as_ref())?);
        let (events, cancel) = (context.events.clone(), context.cancel.clone());
        let work = work(context, known.stages)?;
        let (told, stage) = (events.clone(), name.to_owned());
        let task = tokio::spawn(async move {
            told.emit(match work.await {
                Ok(results_json) => Event::Finished(RunFinished { results_json }),
                Err(error) => Event::Failed(RunFailed {
                    stage,
                    message: error.to_string(),
                }),
            });
        });
        *latest = Some(Active {
            run_id: format!("{name} of {run_id}"),
            events: events.clone(),
            cancel: cancel.clone(),
            task,
        });
        Ok((events.watch(), cancel.drop_guard()))
    }
}

/// How the run chose its gates' thresholds; `None` where it used the recipe's.
fn calibration_of(stages: &[Stage]) -> Result<Option<Calibration>, RunError> {
    let known = stages.iter().any(|stage| stage.name == calibration::STAGE);
    known
        .then(|| recorded(stages, calibration::STAGE))
        .transpose()
}
