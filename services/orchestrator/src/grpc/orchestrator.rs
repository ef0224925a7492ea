//! `saga.orchestrator.v1.OrchestratorService`.

use std::sync::Arc;

use saga_proto::orchestrator::v1::{
    CancelRunRequest, CancelRunResponse, EstimateRunRequest, EstimateRunResponse,
    GetResultsRequest, GetResultsResponse, ListRecipesRequest, ListRecipesResponse, PlannedClass,
    Recipe, StartRunRequest, StartRunResponse, WatchRunRequest, WatchRunResponse,
    orchestrator_service_server::OrchestratorService,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{plan::ClassNeed, recipe::Library, run::Runs};

/// Runs over gRPC.
#[derive(Debug, Clone)]
pub struct OrchestratorGrpc(Arc<Runs>);

impl OrchestratorGrpc {
    /// Serves these runs.
    pub fn new(runs: Arc<Runs>) -> Self {
        Self(runs)
    }
}

#[tonic::async_trait]
impl OrchestratorService for OrchestratorGrpc {
    async fn estimate_run(
        &self,
        request: Request<EstimateRunRequest>,
    ) -> Result<Response<EstimateRunResponse>, Status> {
        let run = request.into_inner().run.unwrap_or_default();
        let (needs, backends) = self.0.estimate(&run).await?;
        let class = |(label, need): (String, ClassNeed)| PlannedClass {
            label,
            real: need.real,
            cap: need.cap,
            planned: need.need(),
            ..PlannedClass::default()
        };
        Ok(Response::new(EstimateRunResponse {
            classes: needs.into_iter().map(class).collect(),
            backends,
        }))
    }

    async fn start_run(
        &self,
        request: Request<StartRunRequest>,
    ) -> Result<Response<StartRunResponse>, Status> {
        let (run_id, resumed) = self.0.start(request.into_inner()).await?;
        Ok(Response::new(StartRunResponse { run_id, resumed }))
    }

    type WatchRunStream = ReceiverStream<Result<WatchRunResponse, Status>>;

    async fn watch_run(
        &self,
        request: Request<WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        Ok(Response::new(
            self.0.watch(&request.into_inner().run_id).await?,
        ))
    }

    async fn cancel_run(
        &self,
        request: Request<CancelRunRequest>,
    ) -> Result<Response<CancelRunResponse>, Status> {
        self.0.cancel(&request.into_inner().run_id).await?;
        Ok(Response::new(CancelRunResponse {}))
    }

    async fn get_results(
        &self,
        request: Request<GetResultsRequest>,
    ) -> Result<Response<GetResultsResponse>, Status> {
        let (results_json, dataset) = self.0.results(&request.into_inner().run_id).await?;
        Ok(Response::new(GetResultsResponse {
            results_json,
            dataset,
        }))
    }

    async fn list_recipes(
        &self,
        _: Request<ListRecipesRequest>,
    ) -> Result<Response<ListRecipesResponse>, Status> {
        let recipe = |(name, toml): (&str, &str)| Recipe {
            name: name.to_owned(),
            toml: toml.to_owned(),
        };
        Ok(Response::new(ListRecipesResponse {
            recipes: Library::compiled_in().map(recipe).collect(),
        }))
    }
}
