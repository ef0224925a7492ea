//! `saga.evaluation.v1.EvaluationService`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, future};
use saga_proto::{
    evaluation::v1::{
        CalibrateRequest, CalibrateResponse, CalibrationFinished, EvaluateRequest,
        EvaluateResponse, EvaluationFinished, calibrate_response, evaluate_response,
        evaluation_service_server::EvaluationService,
    },
    labelstore::v1::Stage,
    orchestrator::v1::watch_run_response::Event,
};
use tonic::{Response, Status};

use crate::{
    evaluation::{self, Plan},
    run::{RunContext, RunError, Runs, calibration},
};

/// Evaluations and calibrations over gRPC.
#[derive(Debug, Clone)]
pub struct EvaluationGrpc(Arc<Runs>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl EvaluationGrpc {
    /// Of these runs.
    pub fn new(runs: Arc<Runs>) -> Self {
        Self(runs)
    }

    /// Starts work on a finished run; its events as answers. The stream cancels the work when it is dropped.
    async fn after<W, T>(
        &self,
        run_id: &str,
        name: &str,
        work: impl FnOnce(Arc<RunContext>, Vec<Stage>) -> Result<W, RunError>,
        answer: fn(Event) -> Option<T>,
    ) -> Result<Response<Answers<T>>, Status>
    where
        W: Future<Output = Result<String, RunError>> + Send + 'static,
        T: Send + 'static,
    {
        let (events, guard) = self.0.after(run_id, name, work).await?;
        let answers = events.filter_map(move |event| {
            let _ = &guard;
            let answer = event.map(|event| event.event.and_then(answer));
            future::ready(answer.transpose())
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tonic::async_trait]
impl EvaluationService for EvaluationGrpc {
    type EvaluateStream = Answers<EvaluateResponse>;

    async fn evaluate(
        &self,
        request: tonic::Request<EvaluateRequest>,
    ) -> Result<Response<Self::EvaluateStream>, Status> {
        let request = request.into_inner();
        let run_id = request.run_id.clone();
        let work = |context: Arc<RunContext>, stages: Vec<_>| {
            let plan = Plan::new(&request, &context)?;
            Ok(async move { evaluation::evaluate(&context, &stages, plan).await })
        };
        self.after(&run_id, "evaluation", work, evaluated).await
    }

    type CalibrateStream = Answers<CalibrateResponse>;

    async fn calibrate(
        &self,
        request: tonic::Request<CalibrateRequest>,
    ) -> Result<Response<Self::CalibrateStream>, Status> {
        let request = request.into_inner();
        let promise = calibration::promise(&request)?;
        let work = move |context: Arc<RunContext>, stages: Vec<_>| {
            Ok(async move { calibration::calibrate(&context, &stages, promise).await })
        };
        self.after(&request.run_id, "calibration", work, calibrated)
            .await
    }
}

fn evaluated(event: Event) -> Option<EvaluateResponse> {
    use evaluate_response::Event as Answer;
    let event = match event {
        Event::StageStarted(started) => Answer::StageStarted(started),
        Event::StageProgress(progress) => Answer::StageProgress(progress),
        Event::StageFinished(finished) => Answer::StageFinished(finished),
        Event::TrainingEpoch(epoch) => Answer::TrainingEpoch(epoch),
        Event::Failed(failed) => Answer::Failed(failed),
        Event::Finished(finished) => Answer::Finished(EvaluationFinished {
            evaluation_json: finished.results_json,
        }),
        Event::Funnel(_) | Event::Plan(_) | Event::ImportReport(_) => return None,
    };
    Some(EvaluateResponse { event: Some(event) })
}

fn calibrated(event: Event) -> Option<CalibrateResponse> {
    use calibrate_response::Event as Answer;
    let event = match event {
        Event::StageStarted(started) => Answer::StageStarted(started),
        Event::StageProgress(progress) => Answer::StageProgress(progress),
        Event::StageFinished(finished) => Answer::StageFinished(finished),
        Event::Failed(failed) => Answer::Failed(failed),
        Event::Finished(finished) => Answer::Finished(CalibrationFinished {
            calibration_json: finished.results_json,
        }),
        Event::TrainingEpoch(_) | Event::Funnel(_) | Event::Plan(_) | Event::ImportReport(_) => {
            return None;
        }
    };
    Some(CalibrateResponse { event: Some(event) })
}
