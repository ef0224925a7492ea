//! The Open Inference Protocol, version 2, over a service's models: what KServe and Triton clients speak
//! (<https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol>).
//!
//! A model takes one tensor under one of several names, one row an item, and gives named tensors. Rows of one request join
//! the batches of everybody else's.

mod elements;
mod images;
mod tensor;

use std::sync::Arc;

use saga_chassis::{
    Readiness,
    status::{invalid_argument, not_found},
};
use saga_gate::Call;
use saga_proto::inference::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
    ModelReadyRequest, ModelReadyResponse, ServerLiveRequest, ServerLiveResponse,
    ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
    grpc_inference_service_server::GrpcInferenceService,
};
use tonic::{Request, Response, Status};

pub use elements::{Datatype, Elements};
pub use images::{encoded_images, pixel_rows};
pub use tensor::{Tensor, TensorSpec};

/// A model's tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    pub name: &'static str,
    /// Alternatives: a request brings one of them.
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
}

/// What a service offers through the protocol.
pub trait OpenInference: Send + Sync + 'static {
    /// Versions in service: the names that models were loaded under.
    fn versions(&self) -> Vec<String>;

    /// The models as they are in `version`; empty: the default one.
    ///
    /// # Errors
    /// An unknown version, or none in service.
    fn models(&self, version: &str) -> Result<Vec<ModelSpec>, Status>;

    /// Answers with the version that answered and every output of the model called `model`, which is one of
    /// [`models`](Self::models); `input` fits one of its specs.
    fn infer(
        &self,
        model: &'static str,
        version: &str,
        input: Tensor,
        call: Call,
    ) -> impl Future<Output = Result<(String, Vec<Tensor>), Status>> + Send;
}

/// The service; wrap it in `GrpcInferenceServiceServer` and add it as a control service: it answers before a model is
/// loaded.
pub struct OpenInferenceServer<M> {
    models: Arc<M>,
    service: &'static str,
    version: &'static str,
    readiness: Readiness,
    max_rows: usize,
}

impl<M: OpenInference> OpenInferenceServer<M> {
    /// Serves `models` for the service of this name and version; a request brings at most `max_rows` rows.
    pub fn new(
        models: M,
        service: &'static str,
        version: &'static str,
        readiness: Readiness,
        max_rows: usize,
    ) -> Self {
        Self {
            models: Arc::new(models),
            service,
            version,
            readiness,
            max_rows,
        }
    }

    fn spec(&self, name: &str, version: &str) -> Result<ModelSpec, Status> {
        let models = self.models.models(version)?;
        let names: Vec<&str> = models.iter().map(|model| model.name).collect();
        let unknown = format!(
            "no model is called {name:?}; there are: {}",
            names.join(", ")
        );
        let found = models.into_iter().find(|model| model.name == name);
        found.ok_or_else(|| not_found("MODEL_UNKNOWN", unknown))
    }
}

#[tonic::async_trait]
impl<M: OpenInference> GrpcInferenceService for OpenInferenceServer<M> {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        let ready = self.readiness.is_ready();
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let ready = self.readiness.is_ready() && self.spec(&name, &version).is_ok();
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse {
            name: self.service.to_owned(),
            version: self.version.to_owned(),
            extensions: Vec::new(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let spec = self.spec(&name, &version)?;
        let metadata = |specs: &[TensorSpec]| specs.iter().map(TensorSpec::metadata).collect();
        Ok(Response::new(ModelMetadataResponse {
            name,
            versions: self.models.versions(),
            platform: "saga_libtorch".to_owned(),
            inputs: metadata(&spec.inputs),
            outputs: metadata(&spec.outputs),
        }))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let call = Call::unary(request.metadata())?;
        let mut request = request.into_inner();
        let spec = self.spec(&request.model_name, &request.model_version)?;
        let wanted = wanted_outputs(&request, &spec)?;
        let (mut inputs, raw) = tensor::inputs(&mut request, &spec.inputs, self.max_rows)?;
        let (Some(input), true) = (inputs.pop(), inputs.is_empty()) else {
            let names: Vec<&str> = spec.inputs.iter().map(|input| input.name).collect();
            let why = format!("must be exactly one tensor: {}", names.join(" or "));
            return Err(invalid_argument("inputs", why));
        };
        let version = request.model_version;
        let (version, outputs) = self.models.infer(spec.name, &version, input, call).await?;
        let mut response = ModelInferResponse {
            model_name: request.model_name,
            model_version: version,
            id: request.id,
            ..ModelInferResponse::default()
        };
        for tensor in outputs {
            if wanted.is_empty() || wanted.iter().any(|name| name == tensor.name) {
                let (output, bytes) = tensor::output(tensor, raw);
                response.outputs.push(output);
                response.raw_output_contents.extend(bytes);
            }
        }
        Ok(Response::new(response))
    }
}

/// Names of the outputs that a request asks for; empty: all.
fn wanted_outputs(request: &ModelInferRequest, spec: &ModelSpec) -> Result<Vec<String>, Status> {
    let mut wanted = Vec::with_capacity(request.outputs.len());
    for (index, output) in request.outputs.iter().enumerate() {
        if !spec.outputs.iter().any(|known| known.name == output.name) {
            let names: Vec<&str> = spec.outputs.iter().map(|known| known.name).collect();
            let why = format!("is {:?}; the model gives {}", output.name, names.join(", "));
            return Err(invalid_argument(format!("outputs[{index}].name"), why));
        }
        wanted.push(output.name.clone());
    }
    Ok(wanted)
}
