//! The model registry of the label store in memory.

use saga_proto::labelstore::v1::{registry_service_server::RegistryService, *};
use tonic::{Request, Response, Status};

use super::FakeStore;

#[tonic::async_trait]
impl RegistryService for FakeStore {
    async fn register_model(
        &self,
        request: Request<RegisterModelRequest>,
    ) -> Result<Response<RegisterModelResponse>, Status> {
        let (model, mut state) = (request.into_inner().model, self.lock());
        state.models.extend(model.clone());
        Ok(Response::new(RegisterModelResponse { model }))
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let name = request.into_inner().name;
        let mut models = self.lock().models.clone();
        models.retain(|model| model.name == name);
        Ok(Response::new(ListModelsResponse { models }))
    }

    async fn promote_model(
        &self,
        _: Request<PromoteModelRequest>,
    ) -> Result<Response<PromoteModelResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn get_serving(
        &self,
        _: Request<GetServingRequest>,
    ) -> Result<Response<GetServingResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }
}
