//! A trainer that is done at once, and a classifier that reads the class off the image: "baseline" takes every `c` for an `a`.

use std::sync::{Arc, Mutex};

use saga_proto::{
    classifier::v1::{
        ClassifyRequest, ClassifyResponse, ClassifyStreamRequest, ClassifyStreamResponse,
        Prediction, classifier_service_server::ClassifierService,
    },
    model::v1::{
        ListModelsRequest, ListModelsResponse, LoadModelRequest, LoadModelResponse,
        RollbackModelRequest, RollbackModelResponse, UnloadModelRequest, UnloadModelResponse,
        model_service_server::ModelService,
    },
    trainer::v1::{
        Epoch, Finished, StreamTrainingRequest, StreamTrainingResponse,
        stream_training_response::Event, trainer_service_server::TrainerService,
    },
};
use tonic::{Request, Response, Status, Streaming};

use super::Answers;

#[derive(Debug, Clone, Default)]
pub struct FakeTrainer {
    /// Every job.
    pub jobs: Arc<Mutex<Vec<StreamTrainingRequest>>>,
}

#[tonic::async_trait]
impl TrainerService for FakeTrainer {
    type StreamTrainingStream = Answers<StreamTrainingResponse>;

    async fn stream_training(
        &self,
        request: Request<StreamTrainingRequest>,
    ) -> Result<Response<Self::StreamTrainingStream>, Status> {
        let job = request.into_inner();
        let finished = Finished {
            directory: format!("/models/{}", job.output),
            revision: format!("rev-{}", job.output),
            ..Finished::default()
        };
        self.jobs.lock().unwrap().push(job);
        let events = [
            Event::Epoch(Epoch {
                epoch: 1,
                epochs: 1,
                ..Epoch::default()
            }),
            Event::Finished(finished),
        ];
        let answers = events.map(|event| Ok(StreamTrainingResponse { event: Some(event) }));
        Ok(Response::new(Box::pin(futures::stream::iter(answers))))
    }
}

#[derive(Debug, Clone, Default)]
pub struct FakeClassifier {
    /// Every load, in order.
    pub loads: Arc<Mutex<Vec<LoadModelRequest>>>,
}

#[tonic::async_trait]
impl ModelService for FakeClassifier {
    async fn load_model(
        &self,
        request: Request<LoadModelRequest>,
    ) -> Result<Response<LoadModelResponse>, Status> {
        self.loads.lock().unwrap().push(request.into_inner());
        Ok(Response::new(LoadModelResponse::default()))
    }

    async fn rollback_model(
        &self,
        _: Request<RollbackModelRequest>,
    ) -> Result<Response<RollbackModelResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn unload_model(
        &self,
        _: Request<UnloadModelRequest>,
    ) -> Result<Response<UnloadModelResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }
}

#[tonic::async_trait]
impl ClassifierService for FakeClassifier {
    async fn classify(
        &self,
        request: Request<ClassifyRequest>,
    ) -> Result<Response<ClassifyResponse>, Status> {
        let request = request.into_inner();
        let text = String::from_utf8(request.image.unwrap().data.to_vec()).unwrap();
        let label = match (request.model.as_str(), text.split(' ').next().unwrap()) {
            ("baseline", "c") => "a",
            (_, label) => label,
        };
        let prediction = Prediction {
            label: label.into(),
            index: 0,
            probability: 0.9,
        };
        Ok(Response::new(ClassifyResponse {
            predictions: vec![prediction],
            ..ClassifyResponse::default()
        }))
    }

    type ClassifyStreamStream = Answers<ClassifyStreamResponse>;

    async fn classify_stream(
        &self,
        _: Request<Streaming<ClassifyStreamRequest>>,
    ) -> Result<Response<Self::ClassifyStreamStream>, Status> {
        Err(Status::unimplemented("not in tests"))
    }
}
