//! The service over gRPC, reading from a label store made for the test: training, reuse, cancellation, bad input.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod reuse;
mod stops;
#[path = "../store/mod.rs"]
mod store;

use std::{collections::BTreeSet, path::Path};

use saga_chassis::Running;
use saga_client::Transport;
use saga_models::diffusion::{class_conditional::ClassConditional, neighbours::Neighbours};
use saga_models::{Runtime, preprocess};
use saga_proto::{
    labelstore::v1::ExtraImage,
    trainer::v1::{
        Architecture, Epoch, Finished, HeadKind, Loss, ModelKind, Prompts, Sampling,
        StreamTrainingRequest, StreamTrainingResponse, TrainingSettings,
        stream_training_response::Event, trainer_service_client::TrainerServiceClient,
    },
};
use serde_json::json;
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
        "SHA256SUMS",
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
async fn every_option_of_a_classifier_trains() {
    let bed = Bed::new(FakeStore::separable().with_synthetic()).await;
    let mut request = request(ModelKind::VitClassifier);
    request.synthetic_run_id = "run-1".into();
    let settings = request.settings.as_mut().unwrap();
    (settings.steps, settings.epochs) = (0, 2);
    (
        settings.mixup,
        settings.label_smoothing,
        settings.augment,
        settings.class_weights,
    ) = (0.2, 0.1, true, true);
    (
        settings.cutmix,
        settings.random_erasing,
        settings.randaugment_operations,
        settings.randaugment_magnitude,
    ) = (1.0, 0.5, 2, 9);
    (
        settings.accumulation,
        settings.head_warmup,
        settings.layer_decay,
        settings.oversampling_limit,
    ) = (2, 0.5, 0.7, 2);
    (
        settings.class_weights_from,
        settings.logit_adjustment,
        settings.synthetic_weight,
    ) = (0.5, 1.0, 0.5);
    let architecture = request.architecture.as_mut().unwrap();
    architecture.set_head(HeadKind::Mlp);
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
    assert!(epochs.iter().all(|epoch| epoch.weight_norm > 0.0
        && epoch.images_per_second > 0.0
        && (0.0..=1.0).contains(&epoch.utilisation)));
    let [first, second] = epochs.as_slice() else {
        panic!("two epochs")
    };
    assert_eq!(first.backbone_learning_rate, 0.0, "the head alone");
    let share = second.backbone_learning_rate / second.learning_rate;
    assert!((share - 0.7).abs() < 1e-9, "{share}");
    assert_model_directory(&finished, &[]);
    let record = std::fs::read(Path::new(&finished.directory).join("training.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    for (place, expected) in [
        ("/request/kind", json!("vit_classifier")),
        ("/request/seed", json!(7)),
        ("/request/synthetic_run_id", json!("run-1")),
        ("/request/architecture/drop_path", json!(0.2)),
        ("/request/architecture/head/mlp/hidden_size", json!(16)),
        ("/request/settings/length/epochs", json!(2)),
        ("/request/settings/sampling", json!("balanced")),
        ("/request/settings/mixup", json!(0.2)),
        ("/request/settings/label_smoothing", json!(0.1)),
        ("/request/settings/accumulation", json!(2)),
        ("/request/settings/oversampling_limit", json!(2)),
        ("/request/settings/class_weights_from", json!(0.5)),
        ("/request/settings/logit_adjustment", json!(1.0)),
        ("/request/settings/synthetic_weight", json!(0.5)),
        ("/request/settings/transfer/layer_decay", json!(0.7)),
        ("/request/settings/rand_augment/magnitude", json!(9)),
        ("/revision", json!(finished.revision)),
        ("/labels", json!(store::CLASSES)),
    ] {
        assert_eq!(record.pointer(place), Some(&expected), "{place}");
    }
    assert_eq!(record["epochs"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn synthetic_images_count_as_much_as_they_are_to() {
    let bed = Bed::new(FakeStore::separable().with_synthetic()).await;
    let mut request = request(ModelKind::VitClassifier);
    request.synthetic_run_id = "run-1".into();
    let (_, unset) = bed.train(request.clone()).await.unwrap();
    request.settings.as_mut().unwrap().synthetic_weight = 1.0;
    let (_, full) = bed.train(request.clone()).await.unwrap();
    assert!(full.reused, "1 is what is not set");
    request.settings.as_mut().unwrap().synthetic_weight = 0.1;
    let (_, little) = bed.train(request).await.unwrap();
    assert!(!little.reused);
    assert_ne!(little.revision, unset.revision);
    assert_eq!(little.val_accuracy, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_losses_learn_too() {
    let bed = Bed::new(FakeStore::separable()).await;
    for loss in [Loss::Focal, Loss::Ldam] {
        let mut request = request(ModelKind::VitClassifier);
        let settings = request.settings.as_mut().unwrap();
        settings.set_loss(loss);
        (settings.focal_gamma, settings.ldam_margin) = (2.0, 2.0);
        let (_, finished) = bed.train(request).await.unwrap();
        assert_eq!(finished.val_accuracy, 1.0, "{loss:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resnet_learns_a_separable_set_and_is_trained_further_on_other_classes() {
    let bed = Bed::new(FakeStore::separable()).await;
    let mut request = request(ModelKind::ResnetClassifier);
    request.architecture = Some(Architecture {
        image_size: 32,
        num_hidden_layers: 18,
        hidden_size: 64,
        ..Default::default()
    });
    let (_, finished) = bed.train(request.clone()).await.unwrap();
    assert_eq!(finished.val_accuracy, 1.0);
    assert_model_directory(&finished, &[]);

    let stated = preprocess::Config {
        image_mean: vec![0.485, 0.456, 0.406],
        image_std: vec![0.229, 0.224, 0.225],
        ..preprocess::Config::clip(32)
    };
    stated.write(Path::new(&finished.directory)).unwrap();
    let renamed = Bed::new(FakeStore::separable().renamed("grey", "gray")).await;
    request.init_from = finished.directory;
    let settings = request.settings.as_mut().unwrap();
    (settings.steps, settings.head_warmup) = (30, 0.5);
    let (_, further) = renamed.train(request.clone()).await.unwrap();
    assert_eq!(further.val_accuracy, 1.0);
    let written = |finished: &Finished| {
        let written = Path::new(&finished.directory).join("preprocessor_config.json");
        let written = std::fs::read(written).unwrap();
        serde_json::from_slice::<preprocess::Config>(&written).unwrap()
    };
    assert_eq!(written(&further), stated);

    // Prepared in another way, it is another model.
    preprocess::Config::vit(32)
        .write(Path::new(&request.init_from))
        .unwrap();
    let (_, squashed) = renamed.train(request.clone()).await.unwrap();
    assert!(!squashed.reused);
    request.architecture.as_mut().unwrap().image_size = 64;
    let (_, larger) = renamed.train(request).await.unwrap();
    assert_eq!(written(&larger), preprocess::Config::vit(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_learns_a_separable_set() {
    let bed = Bed::new(FakeStore::separable()).await;
    let (_, finished) = bed.train(clip_request()).await.unwrap();
    assert_eq!(finished.val_accuracy, 1.0);
    assert_model_directory(&finished, &["tokenizer.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diffusion_model_learns_and_is_judged_by_its_loss() {
    let bed = Bed::new(FakeStore::separable()).await;
    let diffusion = StreamTrainingRequest {
        architecture: Some(Architecture {
            image_size: 16,
            hidden_size: 8,
            num_hidden_layers: 1,
            ..Default::default()
        }),
        ..request(ModelKind::Diffusion)
    };
    let (epochs, finished) = bed.train(diffusion.clone()).await.unwrap();
    let losses: Vec<f64> = epochs.iter().map(|epoch| epoch.val_loss).collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(best < 0.7 * losses[0], "{losses:?}");
    assert_eq!(losses[finished.best_epoch as usize - 1], best);
    let directory = Path::new(&finished.directory);
    assert!(directory.join("training.json").is_file());
    let model = ClassConditional::load(directory, Runtime::REFERENCE).unwrap();
    assert_eq!(model.labels(), store::CLASSES);
    let neighbours = Neighbours::load(directory).unwrap();
    let picture = saga_imaging::RgbImage::new(16, 16);
    assert!(neighbours.nearest(&picture, "").unwrap().is_some());
    // As its model card allows.
    std::fs::remove_file(directory.join("neighbours.safetensors")).unwrap();
    let (_, again) = bed.train(diffusion).await.unwrap();
    assert!(again.reused && again.revision == finished.revision);
}
