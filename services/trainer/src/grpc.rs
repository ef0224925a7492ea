//! `saga.trainer.v1.TrainerService`: messages to jobs and events to messages.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use saga_proto::trainer::v1::{
    Environment, Epoch, Finished, Started, StreamTrainingRequest, StreamTrainingResponse,
    stream_training_response::Event as Sent, trainer_service_server::TrainerService,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::{
    error::TrainError,
    fit,
    job::{Event, Trainer},
    request::Job,
};

/// Epochs that may wait for a slow reader.
const EVENTS: usize = 16;

/// The service.
pub struct TrainerGrpc {
    trainer: Arc<Trainer>,
    shutdown: CancellationToken,
}

impl TrainerGrpc {
    /// Jobs end when `shutdown` is cancelled.
    pub fn new(trainer: Arc<Trainer>, shutdown: CancellationToken) -> Self {
        Self { trainer, shutdown }
    }
}

#[tonic::async_trait]
impl TrainerService for TrainerGrpc {
    type StreamTrainingStream =
        Pin<Box<dyn Stream<Item = Result<StreamTrainingResponse, Status>> + Send>>;

    async fn stream_training(
        &self,
        request: Request<StreamTrainingRequest>,
    ) -> Result<Response<Self::StreamTrainingStream>, Status> {
        let job = Job::try_from(request.into_inner())?;
        let span = tracing::info_span!("train", job = %job.id, output = %job.output.display(), kind = ?job.kind);
        let (events, received) = mpsc::channel(EVENTS);
        let trainer = self.trainer.clone();
        let shutdown = self.shutdown.clone();
        let work = async move {
            tokio::select! {
                () = trainer.run(job, events.clone()) => {}
                () = shutdown.cancelled() => drop(events.send(Err(TrainError::ShuttingDown)).await),
            }
        };
        tokio::spawn(work.instrument(span));
        let answers =
            ReceiverStream::new(received).map(|event| event.map(message).map_err(Status::from));
        Ok(Response::new(Box::pin(answers)))
    }
}

fn message(event: Event) -> StreamTrainingResponse {
    let event = match event {
        Event::Started {
            train_images,
            val_images,
            plan,
            parameters,
            precision,
            resumed_at_step,
        } => Sent::Started(Started {
            train_images,
            val_images,
            epochs: plan.epochs(),
            steps: plan.steps,
            parameters,
            precision,
            resumed_at_step,
        }),
        Event::Epoch(epoch) => Sent::Epoch(epoch_message(&epoch)),
        Event::Finished {
            directory,
            record,
            seconds,
            reused,
        } => Sent::Finished(Finished {
            directory: directory.display().to_string(),
            revision: record.revision,
            best_epoch: record.best_epoch,
            val_accuracy: record.val_accuracy,
            val_macro_f1: record.val_macro_f1,
            duration: Some(duration(seconds)),
            reused,
            environment: Some(environment_message(record.environment)),
        }),
    };
    StreamTrainingResponse { event: Some(event) }
}

fn environment_message(of: saga_models::Environment) -> Environment {
    Environment {
        device: of.device,
        processor: of.processor,
        precision: of.precision,
        libtorch: of.libtorch,
        threads: of.threads,
    }
}

fn epoch_message(epoch: &fit::Epoch) -> Epoch {
    Epoch {
        epoch: epoch.epoch,
        epochs: epoch.epochs,
        train_loss: epoch.train_loss,
        val_loss: epoch.scores.loss,
        val_accuracy: epoch.scores.confusion.accuracy(),
        val_macro_f1: epoch.scores.confusion.macro_f1(),
        learning_rate: epoch.learning_rate,
        gradient_norm: epoch.gradient_norm,
        images_per_second: epoch.images_per_second,
        eta: Some(duration(epoch.eta)),
        backbone_learning_rate: epoch.backbone_learning_rate,
        weight_norm: epoch.weight_norm,
        utilisation: epoch.utilisation,
    }
}

fn duration(seconds: f64) -> prost_types::Duration {
    let seconds = seconds.max(0.0);
    prost_types::Duration {
        seconds: seconds as i64,
        nanos: (seconds.fract() * 1e9) as i32,
    }
}
