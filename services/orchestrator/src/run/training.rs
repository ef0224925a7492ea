//! Training of the baseline, of CLIP and of the augmented model.

use saga_proto::{
    orchestrator::v1::{TrainingEpoch, watch_run_response::Event},
    trainer::v1::{
        self as trainer, Finished, ModelKind, Prompts, StreamTrainingRequest,
        stream_training_response::Event as Training,
    },
};
use serde::{Deserialize, Serialize};
use tonic::Code;

use super::{RunContext, RunError};
use crate::recipe::{Model, Settings};

/// Times a job is started again after the trainer was lost.
const RESTARTS: u32 = 3;

/// A finished model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trained {
    /// Hugging Face directory on the trainer's machine.
    pub(crate) directory: String,
    /// First 16 hexadecimal digits of the BLAKE3 of the weights.
    pub(crate) revision: String,
    best_epoch: u32,
    pub(super) val_accuracy: f64,
    pub(super) val_macro_f1: f64,
    environment: Environment,
    /// The trainer had it already.
    #[serde(skip)]
    pub(crate) reused: bool,
}

/// What a training ran on; see `saga.trainer.v1.Environment`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Environment {
    device: String,
    processor: String,
    precision: String,
    libtorch: String,
    threads: u32,
}

/// The classifier on real images alone.
pub(crate) async fn baseline(context: &RunContext) -> Result<Trained, RunError> {
    let settings = &context.recipe.training.classifier.settings;
    let request = StreamTrainingRequest {
        keep: true,
        ..classifier(context, "baseline", settings)
    };
    train(context, "baseline", request).await
}

/// The same classifier, anew on real and accepted images, with the same number of steps.
pub(crate) async fn augmented(context: &RunContext) -> Result<Trained, RunError> {
    let settings = &context.recipe.training.classifier.settings;
    let request = classifier(context, "augmented", settings);
    train(
        context,
        "augmented",
        StreamTrainingRequest {
            synthetic_run_id: context.run_id.clone(),
            keep: true,
            ..request
        },
    )
    .await
}

/// CLIP on real images and the recipe's texts.
pub(crate) async fn clip(context: &RunContext) -> Result<Trained, RunError> {
    let recipe = &context.recipe;
    let texts = |label: &String| {
        (
            label.clone(),
            Prompts {
                texts: recipe.prompts.training(label),
            },
        )
    };
    let prompts = recipe.classes.iter().map(texts).collect();
    let request = request(context, "clip", ModelKind::Clip, &recipe.training.clip);
    train(
        context,
        "clip",
        StreamTrainingRequest { prompts, ..request },
    )
    .await
}

/// The recipe's classifier, to be trained with these settings.
pub(crate) fn classifier(
    context: &RunContext,
    name: &str,
    settings: &Settings,
) -> StreamTrainingRequest {
    let model = Model {
        settings: settings.clone(),
        ..context.recipe.training.classifier.clone()
    };
    request(context, name, model.kind.into(), &model)
}

fn request(
    context: &RunContext,
    name: &str,
    kind: ModelKind,
    model: &Model,
) -> StreamTrainingRequest {
    StreamTrainingRequest {
        architecture: Some((&model.architecture).into()),
        settings: Some((&model.settings).into()),
        init_from: model.init_from.clone(),
        ..job(context, name, kind)
    }
}

/// What all jobs of a run have in common.
pub(super) fn job(context: &RunContext, name: &str, kind: ModelKind) -> StreamTrainingRequest {
    let output = match context.options.models_prefix.trim_end_matches('/') {
        "" => name.to_owned(),
        prefix => format!("{prefix}/{name}"),
    };
    StreamTrainingRequest {
        job_id: format!("{}/{name}", context.run_id),
        kind: kind.into(),
        dataset_id: context.dataset_id.clone(),
        output,
        seed: context.seed,
        ..StreamTrainingRequest::default()
    }
}

/// Runs a job to its end; a trainer that was lost on the way is asked again.
pub(crate) async fn train(
    context: &RunContext,
    stage: &str,
    request: StreamTrainingRequest,
) -> Result<Trained, RunError> {
    let mut restarts = 0;
    loop {
        let outcome = tokio::select! {
            outcome = once(context, stage, &request) => outcome,
            () = context.cancel.cancelled() => return Err(RunError::Cancelled),
        };
        match outcome {
            Err(RunError::Remote(error))
                if error.status.code() == Code::Unavailable && restarts < RESTARTS =>
            {
                restarts += 1;
                tracing::warn!(stage, %error, restarts, "training broke off; starting it again");
            }
            outcome => return outcome,
        }
    }
}

async fn once(
    context: &RunContext,
    stage: &str,
    request: &StreamTrainingRequest,
) -> Result<Trained, RunError> {
    let trainer = &context.services.trainer;
    let call = trainer.call(request.clone(), |mut trainer, request| async move {
        trainer.stream_training(request).await
    });
    let mut stream = call.await?;
    while let Some(response) = trainer.next(&mut stream).await? {
        match response.event {
            Some(Training::Epoch(epoch)) => {
                context.events.emit(Event::TrainingEpoch(TrainingEpoch {
                    stage: stage.to_owned(),
                    epoch: Some(epoch),
                }));
            }
            Some(Training::Finished(finished)) => return Ok(finished.into()),
            _ => {}
        }
    }
    Err(RunError::Data(format!(
        "the trainer ended the job {:?} without a model",
        request.job_id
    )))
}

impl From<Finished> for Trained {
    fn from(of: Finished) -> Self {
        Self {
            directory: of.directory,
            revision: of.revision,
            best_epoch: of.best_epoch,
            val_accuracy: of.val_accuracy,
            val_macro_f1: of.val_macro_f1,
            environment: of.environment.map(Environment::from).unwrap_or_default(),
            reused: of.reused,
        }
    }
}

impl From<trainer::Environment> for Environment {
    fn from(of: trainer::Environment) -> Self {
        Self {
            device: of.device,
            processor: of.processor,
            precision: of.precision,
            libtorch: of.libtorch,
            threads: of.threads,
        }
    }
}
