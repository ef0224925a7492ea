//! `saga.model.v1.ModelService` over a [`Registry`].

use std::{path::Path, sync::Arc};

use saga_chassis::status::invalid_argument;
use saga_proto::model::v1::{
    ListModelsRequest, ListModelsResponse, LoadModelRequest, LoadModelResponse,
    RollbackModelRequest, RollbackModelResponse, UnloadModelRequest, UnloadModelResponse,
    model_service_server::ModelService,
};
use tonic::{Request, Response, Status};

use crate::registry::{Loader, Registry};

/// The service; wrap it in `ModelServiceServer` and add it as a control service: it answers before a model is loaded.
pub struct ModelServer<L: Loader> {
    registry: Arc<Registry<L>>,
}

impl<L: Loader> ModelServer<L> {
    /// Serves `registry`.
    pub fn new(registry: Arc<Registry<L>>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl<L: Loader> ModelService for ModelServer<L> {
    async fn load_model(
        &self,
        request: Request<LoadModelRequest>,
    ) -> Result<Response<LoadModelResponse>, Status> {
        let LoadModelRequest {
            name,
            directory,
            make_default,
        } = request.into_inner();
        if directory.is_empty() {
            return Err(invalid_argument(
                "directory",
                "is empty; name a Hugging Face model directory",
            ));
        }
        let model = self
            .registry
            .load(&name, Path::new(&directory), make_default)
            .await?;
        Ok(Response::new(LoadModelResponse { model: Some(model) }))
    }

    async fn rollback_model(
        &self,
        request: Request<RollbackModelRequest>,
    ) -> Result<Response<RollbackModelResponse>, Status> {
        let model = self.registry.rollback(&request.into_inner().name)?;
        Ok(Response::new(RollbackModelResponse { model: Some(model) }))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Ok(Response::new(ListModelsResponse {
            models: self.registry.list(),
        }))
    }

    async fn unload_model(
        &self,
        request: Request<UnloadModelRequest>,
    ) -> Result<Response<UnloadModelResponse>, Status> {
        self.registry.unload(&request.into_inner().name)?;
        Ok(Response::new(UnloadModelResponse {}))
    }
}
