//! The service over gRPC, reading from a label store made for the test: training, reuse, cancellation, bad input.

#![allow(clippy::unwrap_used, clippy::expect_used)]

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
async fn a_kept_model_stays_when_its_output_is_trained_anew() {
    let bed = Bed::new(FakeStore::separable()).await;
    let with = |seed| StreamTrainingRequest {
        seed,
        keep: true,
        ..request(ModelKind::VitClassifier)
    };
    let revision =
        |of: &Finished| saga_models::directory::revision(Path::new(&of.directory)).unwrap();
    let (_, first) = bed.train(with(1)).await.unwrap();
    let (_, second) = bed.train(with(2)).await.unwrap();
    assert_ne!(first.directory, second.directory);
    for model in [&first, &second] {
        assert_eq!(revision(model), model.revision);
        assert_model_directory(model, &[]);
    }
    let (_, plain) = bed
        .train(StreamTrainingRequest {
            keep: false,
            ..with(2)
        })
        .await
        .unwrap();
    assert!(plain.reused && plain.directory.ends_with("run/model"));
    // One that was lost or damaged comes back with the same request.
    let lose = |directory: &Path| std::fs::remove_dir_all(directory).unwrap();
    let damage = |directory: &Path| {
        std::fs::remove_file(directory.join("golden.safetensors")).unwrap();
    };
    for hurt in [lose, damage] {
        hurt(Path::new(&second.directory));
        let (_, again) = bed.train(with(2)).await.unwrap();
        assert!(again.reused);
        assert_eq!(
            (&again.directory, revision(&again)),
            (&second.directory, second.revision.clone())
        );
        assert_checksums(Path::new(&again.directory));
    }
}

/// As whoever was given the directory checks it.
fn assert_checksums(directory: &Path) {
    let mut check = std::process::Command::new("sha256sum");
    check
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(directory);
    let output = check.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let listed = String::from_utf8(output.stdout).unwrap().lines().count();
    let folder = std::fs::read_dir(directory).unwrap();
    assert_eq!(
        listed + 2,
        folder.count(),
        "all files but the card and the list itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_model_with_a_changed_file_is_trained_anew() {
    let bed = Bed::new(FakeStore::separable()).await;
    let (_, first) = bed.train(request(ModelKind::VitClassifier)).await.unwrap();
    let directory = Path::new(&first.directory);
    assert_checksums(directory);
    preprocess::Config::vit(8).write(directory).unwrap();
    let (_, second) = bed.train(request(ModelKind::VitClassifier)).await.unwrap();
    assert!(!second.reused);
    assert_eq!(second.revision, first.revision);
    assert_checksums(directory);
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
    let expected = ["model", "model-last-good"].map(std::ffi::OsString::from);
    assert_eq!(left.into_iter().collect::<BTreeSet<_>>(), expected.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_goes_on_where_it_was() {
    let bed = Bed::new(FakeStore::separable()).await;
    let mut long = request(ModelKind::VitClassifier);
    long.settings.as_mut().unwrap().steps = 1000;
    let mut stream = bed.stream(long.clone()).await.unwrap();
    while !matches!(
        stream.message().await.unwrap().unwrap().event,
        Some(Event::Epoch(_))
    ) {}
    drop(stream);
    let last_good = bed.models.path().join("run/model-last-good");
    let (mut resumed_at, mut epochs, mut finished) = (0, Vec::new(), None);
    while finished.is_none() {
        // Busy until the cancelled one has left its weights behind.
        let Ok(mut stream) = bed.stream(long.clone()).await else {
            continue;
        };
        while let Ok(Some(answer)) = stream.message().await {
            match answer.event.unwrap() {
                Event::Started(started) => {
                    resumed_at = started.resumed_at_step;
                    assert!(last_good.join("model.safetensors").is_file());
                }
                Event::Epoch(epoch) => epochs.push(epoch.epoch),
                Event::Finished(done) => finished = Some(done),
            }
        }
    }
    assert!((1..1000).contains(&resumed_at), "{resumed_at}");
    assert_eq!(epochs, (1..=500).collect::<Vec<_>>());
    assert!(!last_good.exists() && !bed.models.path().join("run/.model.training").exists());

    long.output = "run/undisturbed".into();
    let (_, undisturbed) = bed.train(long).await.unwrap();
    assert_eq!(finished.unwrap().revision, undisturbed.revision);
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
        (
            FakeStore::separable().relabelled_while_read(),
            "DATASET_CHANGED",
        ),
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
