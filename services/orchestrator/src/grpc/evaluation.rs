//! `saga.evaluation.v1.EvaluationService`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use saga_proto::{
    evaluation::v1::{
        EvaluateRequest, EvaluateResponse, EvaluationFinished, evaluate_response::Event,
        evaluation_service_server::EvaluationService,
    },
    orchestrator::v1::watch_run_response::Event as Watched,
};
use tonic::{Request, Response, Status};

use crate::{
    evaluation::{self, Plan},
    run::Runs,
};

/// Evaluations over gRPC.
#[derive(Debug, Clone)]
pub struct EvaluationGrpc(Arc<Runs>);

impl EvaluationGrpc {
    /// Of these runs.
    pub fn new(runs: Arc<Runs>) -> Self {
        Self(runs)
    }
}

#[tonic::async_trait]
impl EvaluationService for EvaluationGrpc {
    type EvaluateStream = Pin<Box<dyn Stream<Item = Result<EvaluateResponse, Status>> + Send>>;

    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<Self::EvaluateStream>, Status> {
        let request = request.into_inner();
        let run_id = request.run_id.clone();
        let work = |context: Arc<_>, stages: Vec<_>| async move {
            let plan = Plan::new(&request, &context)?;
            evaluation::evaluate(&context, &stages, plan).await
        };
        let (events, guard) = self.0.after(&run_id, "evaluation", work).await?;
        let answers = events.filter_map(move |event| {
            // Dropped with the stream, it cancels.
            let _ = &guard;
            let answer = event
                .map(|event| event.event.and_then(evaluated))
                .transpose();
            futures::future::ready(answer)
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

fn evaluated(event: Watched) -> Option<EvaluateResponse> {
    let event = match event {
        Watched::StageStarted(started) => Event::StageStarted(started),
        Watched::StageProgress(progress) => Event::StageProgress(progress),
        Watched::StageFinished(finished) => Event::StageFinished(finished),
        Watched::TrainingEpoch(epoch) => Event::TrainingEpoch(epoch),
        Watched::Failed(failed) => Event::Failed(failed),
        Watched::Finished(finished) => Event::Finished(EvaluationFinished {
            evaluation_json: finished.results_json,
        }),
        Watched::Funnel(_) | Watched::Plan(_) | Watched::ImportReport(_) => return None,
    };
    Some(EvaluateResponse { event: Some(event) })
}
