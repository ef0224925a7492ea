//! A small service to call.

use saga_proto::model::v1::{
    ListModelsRequest, ListModelsResponse, LoadModelRequest, LoadModelResponse,
    RollbackModelRequest, RollbackModelResponse, UnloadModelRequest, UnloadModelResponse,
    model_service_server::ModelService,
};
use tokio::sync::Notify;
use tonic::{Request, Response, Status};

/// List answers at once, Load fails, Unload waits for `release`.
#[derive(Default)]
pub struct Example {
    pub entered: Notify,
    pub release: Notify,
}

#[tonic::async_trait]
impl ModelService for Example {
    async fn load_model(
        &self,
        _: Request<LoadModelRequest>,
    ) -> Result<Response<LoadModelResponse>, Status> {
        Err(Status::internal("broken"))
    }

    async fn rollback_model(
        &self,
        _: Request<RollbackModelRequest>,
    ) -> Result<Response<RollbackModelResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        tracing::info_span!("work").in_scope(|| Ok(Response::new(ListModelsResponse::default())))
    }

    async fn unload_model(
        &self,
        _: Request<UnloadModelRequest>,
    ) -> Result<Response<UnloadModelResponse>, Status> {
        self.entered.notify_one();
        self.release.notified().await;
        Ok(Response::new(UnloadModelResponse {}))
    }
}
