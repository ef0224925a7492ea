//! RegistryService.

use saga_proto::labelstore::v1::{self, registry_service_server::RegistryService};
use tonic::{Request, Response, Status};

use super::{Service, timestamp};
use crate::{
    error::StoreError,
    registry::{self, Lineage, NewModel, Stage, Version},
};

#[tonic::async_trait]
impl RegistryService for Service {
    async fn register_model(
        &self,
        request: Request<v1::RegisterModelRequest>,
    ) -> Result<Response<v1::RegisterModelResponse>, Status> {
        let model = new_model(request.into_inner().model.unwrap_or_default());
        let version = registry::register(&self.store, model).await;
        self.answer(version.map(|version| v1::RegisterModelResponse {
            model: Some(message(version)),
        }))
    }

    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        let versions = registry::list(&self.store, &request.into_inner().name).await;
        self.answer(versions.map(|versions| v1::ListModelsResponse {
            models: versions.into_iter().map(message).collect(),
        }))
    }

    async fn promote_model(
        &self,
        request: Request<v1::PromoteModelRequest>,
    ) -> Result<Response<v1::PromoteModelResponse>, Status> {
        let request = request.into_inner();
        let stage = match request.stage() {
            v1::ModelStage::Candidate => Stage::Candidate,
            v1::ModelStage::Serving => Stage::Serving,
            v1::ModelStage::Archived => Stage::Archived,
            v1::ModelStage::Unspecified => {
                let why = "is none; name candidate, serving or archived";
                return self.answer(Err(StoreError::invalid("stage", why)));
            }
        };
        let (name, version) = (&request.name, request.version);
        let promoted = registry::promote(&self.store, name, version, stage).await;
        self.answer(promoted.map(|version| v1::PromoteModelResponse {
            model: Some(message(version)),
        }))
    }

    async fn get_serving(
        &self,
        request: Request<v1::GetServingRequest>,
    ) -> Result<Response<v1::GetServingResponse>, Status> {
        let serving = registry::serving(&self.store, &request.into_inner().name).await;
        self.answer(serving.map(|serving| v1::GetServingResponse {
            model: serving.map(message),
        }))
    }
}

fn new_model(message: v1::RegisteredModel) -> NewModel {
    let lineage = message.lineage.unwrap_or_default();
    NewModel {
        name: message.name,
        directory: message.directory,
        revision: message.revision,
        lineage: Lineage {
            dataset_id: lineage.dataset_id,
            synthetic_run_id: lineage.synthetic_run_id,
            parent: lineage.parent,
            recipe: lineage.recipe,
            seed: lineage.seed,
        },
        metrics: message.metrics.into_iter().collect(),
    }
}

fn message(version: Version) -> v1::RegisteredModel {
    let NewModel {
        name,
        directory,
        revision,
        lineage,
        metrics,
    } = version.model;
    let stage = match version.stage {
        Stage::Candidate => v1::ModelStage::Candidate,
        Stage::Serving => v1::ModelStage::Serving,
        Stage::Archived => v1::ModelStage::Archived,
    };
    v1::RegisteredModel {
        name,
        version: version.version,
        directory,
        revision,
        lineage: Some(v1::ModelLineage {
            dataset_id: lineage.dataset_id,
            synthetic_run_id: lineage.synthetic_run_id,
            dataset_snapshot: version.dataset_snapshot,
            parent: lineage.parent,
            recipe: lineage.recipe,
            seed: lineage.seed,
        }),
        metrics: metrics.into_iter().collect(),
        stage: stage.into(),
        registered: Some(timestamp(version.registered_at)),
        staged: Some(timestamp(version.staged_at)),
    }
}
