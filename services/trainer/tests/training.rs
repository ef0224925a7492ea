//! The service over gRPC, reading from a label store made for the test: training, reuse, cancellation, bad input.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod store;

use std::path::Path;

use saga_chassis::Running;
use saga_client::Transport;
use saga_proto::{
    labelstore::v1::ExtraImage,
    trainer::v1::{
        Architecture, Epoch, Finished, ModelKind, Prompts, Sampling, StreamTrainingRequest,
        StreamTrainingResponse, TrainingSettings, stream_training_response::Event,
        trainer_service_client::TrainerServiceClient,
    },
};
use store::FakeStore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Status};

/// A trainer and its store, stopped when dropped.
struct Bed {
    client: TrainerServiceClient<Transport>,
    models: tempfile::TempDir,
    _running: (Running, DropGuard),
}

impl Bed {
    async fn new(store: FakeStore) -> Self {
        let shutdown = CancellationToken::new();
        let models = tempfile::tempdir().unwrap();
        let mut config = trainer::Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.models.directory = models.path().to_path_buf();
        config.label_store.address = store.start(shutdown.clone()).await;
        config.compute.precision = "f32".into();
        config.compute.threads = 1;
        let running = trainer::start(config, shutdown.clone()).await.unwrap();
        let client = TrainerServiceClient::new(
            saga_client::connect(&running.addr.to_string())
                .await
                .unwrap(),
        );
        Self {
            client,
            models,
            _running: (running, shutdown.drop_guard()),
        }
    }

    async fn stream(
        &self,
        request: StreamTrainingRequest,
    ) -> Result<tonic::Streaming<StreamTrainingResponse>, Status> {
        Ok(self
            .client
            .clone()
            .stream_training(request)
            .await?
            .into_inner())
    }

    /// Epochs and the finished model.
    async fn train(
        &self,
        request: StreamTrainingRequest,
    ) -> Result<(Vec<Epoch>, Finished), Status> {
        let mut stream = self.stream(request).await?;
        let mut epochs = Vec::new();
        while let Some(answer) = stream.message().await? {
            match answer.event.expect("every answer has an event") {
                Event::Started(_) => assert!(epochs.is_empty()),
                Event::Epoch(epoch) => epochs.push(epoch),
                Event::Finished(finished) => return Ok((epochs, finished)),
            }
        }
        panic!("the stream ended without a model")
    }
}

fn request(kind: ModelKind) -> StreamTrainingRequest {
    StreamTrainingRequest {
        job_id: "job-1".into(),
        kind: kind.into(),
        dataset_id: "toy".into(),
        output: "run/model".into(),
        seed: 7,
        architecture: Some(Architecture {
            image_size: 16,
            patch_size: 8,
            hidden_size: 32,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 64,
            ..Default::default()
        }),
        settings: Some(TrainingSettings {
            steps: 60,
            batch_size: 16,
            learning_rate: 0.005,
            warmup: 0.1,
            ema_decay: 0.9,
            sampling: Sampling::Balanced.into(),
            gradient_clip: 1.0,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn clip_request() -> StreamTrainingRequest {
    let prompts = |label: &str| Prompts {
        texts: vec![
            format!("a photo of a {label} square"),
            format!("{label}, plain"),
        ],
    };
    StreamTrainingRequest {
        prompts: store::CLASSES
            .iter()
            .map(|label| (label.to_string(), prompts(label)))
            .collect(),
        ..request(ModelKind::Clip)
    }
}

fn assert_model_directory(finished: &Finished, also: &[&str]) {
    let directory = Path::new(&finished.directory);
    for file in [
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "README.md",
        "training.json",
    ]
    .iter()
    .chain(also)
    {
        assert!(directory.join(file).is_file(), "{file}");
    }
    assert_eq!(
        saga_models::directory::revision(directory).unwrap(),
        finished.revision
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classifier_learns_a_separable_set_and_is_reused() {
    let bed = Bed::new(FakeStore::separable()).await;
    let (epochs, finished) = bed.train(request(ModelKind::VitClassifier)).await.unwrap();
    let last = epochs.last().unwrap();
    assert!(last.train_loss < 0.1, "{last:?}");
    assert_eq!((finished.val_accuracy, finished.val_macro_f1), (1.0, 1.0));
    assert!(!finished.reused);
    assert_model_directory(&finished, &[]);

    let other_id = StreamTrainingRequest {
        job_id: "job-2".into(),
        ..request(ModelKind::VitClassifier)
    };
    let (epochs, again) = bed.train(other_id).await.unwrap();
    assert!(again.reused && epochs.is_empty());
    assert_eq!(
        (again.revision, again.best_epoch),
        (finished.revision.clone(), finished.best_epoch)
    );

    let elsewhere = StreamTrainingRequest {
        output: "run/again".into(),
        ..request(ModelKind::VitClassifier)
    };
    let (_, same) = bed.train(elsewhere).await.unwrap();
    assert!(!same.reused);
    assert_eq!(
        same.revision, finished.revision,
        "the same seed gives the same weights"
    );

    let other_seed = StreamTrainingRequest {
        seed: 8,
        ..request(ModelKind::VitClassifier)
    };
    let (_, other) = bed.train(other_seed).await.unwrap();
    assert!(!other.reused);
    assert_ne!(other.revision, finished.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn extra_images_are_part_of_what_a_model_is_reused_for() {
    let bed = Bed::new(FakeStore::separable()).await;
    let with = |label: &str| StreamTrainingRequest {
        extra: vec![ExtraImage {
            image_id: "train-0".into(),
            label: label.into(),
        }],
        ..request(ModelKind::VitClassifier)
    };
    let (_, plain) = bed.train(request(ModelKind::VitClassifier)).await.unwrap();
    let (_, red) = bed.train(with("red")).await.unwrap();
    assert!(!red.reused);
    assert_ne!(red.revision, plain.revision);
    let (_, again) = bed.train(with("red")).await.unwrap();
    assert!(again.reused);
    let (_, blue) = bed.train(with("blue")).await.unwrap();
    assert!(!blue.reused);
    assert_ne!(blue.revision, red.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_option_of_a_classifier_trains() {
    let bed = Bed::new(FakeStore::separable()).await;
    let mut request = request(ModelKind::VitClassifier);
    let settings = request.settings.as_mut().unwrap();
    (settings.steps, settings.epochs) = (0, 2);
    (
        settings.mixup,
        settings.label_smoothing,
        settings.augment,
        settings.class_weights,
        settings.logit_adjustment,
    ) = (0.2, 0.1, true, true, 1.0);
    let architecture = request.architecture.as_mut().unwrap();
    architecture.set_head(saga_proto::trainer::v1::HeadKind::Mlp);
    (
        architecture.head_hidden_size,
        architecture.drop_path,
        architecture.num_hidden_layers,
    ) = (16, 0.2, 2);
    let (epochs, finished) = bed.train(request).await.unwrap();
    assert_eq!(
        epochs
            .iter()
            .map(|epoch| (epoch.epoch, epoch.epochs))
            .collect::<Vec<_>>(),
        [(1, 2), (2, 2)]
    );
    assert!(
        epochs
            .iter()
            .all(|epoch| epoch.train_loss.is_finite() && epoch.gradient_norm > 0.0)
    );
    assert_model_directory(&finished, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_learns_a_separable_set() {
    let bed = Bed::new(FakeStore::separable()).await;
    let (_, finished) = bed.train(clip_request()).await.unwrap();
    assert_eq!(finished.val_accuracy, 1.0);
    assert_model_directory(&finished, &["tokenizer.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_the_stream_cancels_and_frees_the_output() {
    let bed = Bed::new(FakeStore::separable()).await;
    let mut endless = request(ModelKind::VitClassifier);
    endless.settings.as_mut().unwrap().steps = 10_000_000;
    let mut stream = bed.stream(endless.clone()).await.unwrap();
    while !matches!(
        stream.message().await.unwrap().unwrap().event,
        Some(Event::Epoch(_))
    ) {}
    let busy = bed.train(endless).await.unwrap_err();
    assert_eq!(busy.code(), Code::Aborted, "{busy}");
    drop(stream);
    // One job at a time: this one starts only when the endless one has ended.
    loop {
        match bed.train(request(ModelKind::VitClassifier)).await {
            Ok((_, finished)) => break assert!(!finished.reused),
            Err(status) => assert_eq!(status.code(), Code::Aborted, "{status}"),
        }
    }
    let left: Vec<_> = std::fs::read_dir(bed.models.path().join("run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["model"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named() {
    let bed = Bed::new(FakeStore::separable()).await;
    let mut bad = request(ModelKind::VitClassifier);
    bad.settings.as_mut().unwrap().batch_size = 0;
    let status = bed.train(bad).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::InvalidArgument,
            "settings.batch_size: is 0; it must lie in 2 to 4096"
        )
    );

    let unknown = StreamTrainingRequest {
        dataset_id: "nothing".into(),
        ..request(ModelKind::VitClassifier)
    };
    let status = bed.train(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");

    let mut prompts = clip_request();
    prompts.prompts.remove("red");
    let status = bed.train(prompts).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::InvalidArgument,
            "prompts: have no text for class 'red'; add at least one"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_data_is_named() {
    for (store, reason) in [
        (FakeStore::separable().without_val(), "EMPTY_SPLIT"),
        (
            FakeStore::separable().with_class("green"),
            "CLASS_WITHOUT_IMAGES",
        ),
        (FakeStore::separable().with_row("mauve"), "UNKNOWN_LABEL"),
        (FakeStore::separable().with_broken_image(), "BAD_IMAGE"),
    ] {
        let status = Bed::new(store)
            .await
            .train(request(ModelKind::VitClassifier))
            .await
            .unwrap_err();
        assert_eq!(
            saga_chassis::status::reason(&status).as_deref(),
            Some(reason),
            "{status}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diverging_training_keeps_the_last_good_weights_beside_the_output() {
    let bed = Bed::new(FakeStore::separable()).await;
    let (_, good) = bed.train(request(ModelKind::VitClassifier)).await.unwrap();
    let mut wild = request(ModelKind::VitClassifier);
    let settings = wild.settings.as_mut().unwrap();
    (
        settings.learning_rate,
        settings.weight_decay,
        settings.gradient_clip,
    ) = (1.0, 10.0, 0.0);
    (settings.steps, settings.warmup, settings.ema_decay) = (400, 0.0, 0.0);
    let status = bed.train(wild).await.unwrap_err();
    assert_eq!(
        saga_chassis::status::reason(&status).as_deref(),
        Some("DIVERGED"),
        "{status}"
    );
    assert_eq!(
        saga_models::directory::revision(Path::new(&good.directory)).unwrap(),
        good.revision
    );
    assert!(
        bed.models
            .path()
            .join("run/model-last-good/model.safetensors")
            .is_file()
    );
}
