//! A trainer that is done at once, and a classifier that reads the class off the image: a model
//! of real images alone takes every `c` for an `a`.

use std::sync::{Arc, Mutex};

use saga_chassis::status::failed_precondition;
use saga_proto::{
    classifier::v1::{
        ClassifyRequest, ClassifyResponse, ClassifyStreamRequest, ClassifyStreamResponse,
        Prediction, classifier_service_server::ClassifierService,
    },
    clip::v1::{
        EmbedImageRequest, EmbedImageResponse, EmbedTextRequest, EmbedTextResponse, ScoreRequest,
        ScoreResponse, clip_service_server::ClipService,
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

impl FakeClassifier {
    /// Refuses a model that is not loaded, as a service does that was started again.
    pub fn check_loaded(&self, name: &str) -> Result<(), Status> {
        let loads = self.loads.lock().unwrap();
        if loads.iter().any(|load| load.name == name) {
            return Ok(());
        }
        Err(failed_precondition(
            "MODEL_NOT_LOADED",
            format!("no model is called {name:?}"),
        ))
    }

    /// Whether a model saw real images alone.
    fn is_weak(&self, model: &str) -> bool {
        let loads = self.loads.lock().unwrap();
        let loaded = loads.iter().rfind(|load| load.name == model);
        loaded.is_some_and(|load| {
            load.directory.contains("/baseline") || load.directory.contains("/plain-")
        })
    }
}

/// Embeds an image as the counts of its letters.
#[tonic::async_trait]
impl ClipService for FakeClassifier {
    async fn embed_image(
        &self,
        request: Request<EmbedImageRequest>,
    ) -> Result<Response<EmbedImageResponse>, Status> {
        let data = request.into_inner().image.unwrap().data;
        let count = |letter: u8| data.iter().filter(|&&byte| byte == letter).count() as f32;
        Ok(Response::new(EmbedImageResponse {
            embedding: (b'a'..=b'z').map(count).collect(),
            ..EmbedImageResponse::default()
        }))
    }

    async fn embed_text(
        &self,
        _: Request<EmbedTextRequest>,
    ) -> Result<Response<EmbedTextResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn score(&self, _: Request<ScoreRequest>) -> Result<Response<ScoreResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }
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
        Ok(Response::new(UnloadModelResponse::default()))
    }
}

#[tonic::async_trait]
impl ClassifierService for FakeClassifier {
    async fn classify(
        &self,
        request: Request<ClassifyRequest>,
    ) -> Result<Response<ClassifyResponse>, Status> {
        let request = request.into_inner();
        let data = request.image.unwrap().data.to_vec();
        let features = match request.with_features {
            true => data.iter().take(2).map(|&byte| byte.into()).collect(),
            false => Vec::new(),
        };
        let text = String::from_utf8(data).unwrap();
        let label = match text.split(' ').next().unwrap() {
            "c" if self.is_weak(&request.model) => "a",
            label => label,
        };
        let prediction = |(probability, label): (f64, &str)| Prediction {
            label: label.into(),
            index: u32::from(label.as_bytes()[0] - b'a'),
            probability,
        };
        let others = ["a", "b", "c"].into_iter().filter(|other| *other != label);
        let predictions = [(0.9, label)]
            .into_iter()
            .chain(others.map(|other| (0.05, other)));
        Ok(Response::new(ClassifyResponse {
            predictions: predictions.map(prediction).collect(),
            features,
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
