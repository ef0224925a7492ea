//! A trainer that is killed with SIGKILL again and again ends with the weights of one that was left alone, to the byte; one whose
//! disk is full leaves the old model whole.

#![allow(clippy::unwrap_used, clippy::expect_used)]

// This test needs the plain store alone.
#[allow(dead_code)]
mod store;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use saga_proto::trainer::v1::{
    Architecture, Finished, HeadKind, ModelKind, Sampling, Started, StreamTrainingRequest,
    TrainingSettings, stream_training_response::Event,
    trainer_service_client::TrainerServiceClient,
};
use serde_json::Value;
use store::FakeStore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

/// New epochs that each attempt is left to see before it is killed.
const LIVES: [usize; 6] = [2, 0, 1, 3, 1, 2];

/// A label store, and the folder of the trainer's models.
struct Bed {
    store: String,
    models: tempfile::TempDir,
    _shutdown: DropGuard,
}

/// A trainer in a process of its own, killed when dropped.
struct Trainer {
    process: Child,
    address: String,
}

impl Drop for Trainer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Bed {
    async fn new() -> Self {
        let shutdown = CancellationToken::new();
        Self {
            store: FakeStore::separable().start(shutdown.clone()).await,
            models: tempfile::tempdir().unwrap(),
            _shutdown: shutdown.drop_guard(),
        }
    }

    /// Starts a trainer, by way of `sh -c SCRIPT TRAINER ARGUMENTS`.
    fn trainer(&self, script: &str) -> Trainer {
        let mut process = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_trainer")])
            .args(["--listen", "127.0.0.1:0", "--label-store", &self.store])
            .args(["--device", "cpu", "--precision", "f32", "--models"])
            .arg(self.models.path())
            .env("SAGA_TRAINER__CHECKPOINTS__EVERY_SECONDS", "0")
            .env("SAGA_TRAINER__COMPUTE__THREADS", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines.find_map(|line| address(&line.unwrap())).unwrap();
        // Whoever does not read what a process says stops it.
        std::thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap())));
        Trainer { process, address }
    }

    fn record(&self, output: &str) -> Value {
        let file = self.models.path().join(output).join("training.json");
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }
}

/// Of the line in which a service says where it listens.
fn address(line: &str) -> Option<String> {
    let start = line
        .find("127.0.0.1:")
        .filter(|_| line.contains("listening"))?;
    let of_address = |c: char| c.is_ascii_digit() || ".:".contains(c);
    let rest = line.get(start..)?;
    Some(rest.split(|c| !of_address(c)).next()?.to_owned())
}

/// Every source of randomness, and every state that a checkpoint has to hold.
fn request(output: &str) -> StreamTrainingRequest {
    StreamTrainingRequest {
        job_id: "crash".into(),
        kind: ModelKind::VitClassifier.into(),
        dataset_id: "toy".into(),
        output: output.into(),
        seed: 7,
        architecture: Some(Architecture {
            image_size: 16,
            patch_size: 8,
            hidden_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 64,
            head: HeadKind::Mlp.into(),
            head_hidden_size: 32,
            drop_path: 0.2,
        }),
        settings: Some(TrainingSettings {
            steps: 60,
            batch_size: 4,
            learning_rate: 0.005,
            ema_decay: 0.9,
            sampling: Sampling::Balanced.into(),
            mixup: 0.2,
            cutmix: 1.0,
            augment: true,
            random_erasing: 0.3,
            randaugment_operations: 1,
            randaugment_magnitude: 9,
            gradient_clip: 1.0,
            accumulation: 2,
            head_warmup: 0.3,
            layer_decay: 0.8,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What a job told until it ended, or until it had told of so many epochs.
struct Told {
    started: Started,
    epochs: Vec<u32>,
    finished: Option<Finished>,
}

async fn train(trainer: &Trainer, output: &str, most: usize) -> Result<Told, (Vec<u32>, Status)> {
    let transport = saga_client::connect(&trainer.address).await.unwrap();
    let mut client = TrainerServiceClient::new(transport);
    let stream = client.stream_training(request(output)).await;
    let mut stream = stream.unwrap().into_inner();
    let mut told = Told {
        started: Started::default(),
        epochs: Vec::new(),
        finished: None,
    };
    while told.epochs.len() < most || told.started.steps == 0 {
        match stream.message().await {
            Err(status) => return Err((told.epochs, status)),
            Ok(None) => break,
            Ok(Some(answer)) => match answer.event.unwrap() {
                Event::Started(started) => told.started = started,
                Event::Epoch(epoch) => told.epochs.push(epoch.epoch),
                Event::Finished(finished) => told.finished = Some(finished),
            },
        }
    }
    Ok(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_killed_again_and_again_ends_with_the_same_weights() {
    let bed = Bed::new().await;
    let calm = bed.trainer("exec \"$0\" \"$@\"");
    let undisturbed = train(&calm, "calm", usize::MAX).await.unwrap();
    drop(calm);

    let mut seen = 0;
    for lives in LIVES {
        let trainer = bed.trainer("exec \"$0\" \"$@\"");
        let told = train(&trainer, "wild", seen + lives).await.unwrap();
        drop(trainer);
        assert!(told.finished.is_none(), "it ended before it was killed");
        let whole_epochs = told.started.resumed_at_step / 3;
        assert!(
            whole_epochs as usize >= seen.saturating_sub(1),
            "steps were lost"
        );
        seen = seen.max(told.epochs.len());
    }
    let trainer = bed.trainer("exec \"$0\" \"$@\"");
    let told = train(&trainer, "wild", usize::MAX).await.unwrap();
    assert!(told.started.resumed_at_step > 0);
    assert_eq!(told.epochs, (1..=20).collect::<Vec<_>>());

    let weights = |output: &str| fs::read(bed.models.path().join(output).join("model.safetensors"));
    assert!(weights("wild").unwrap() == weights("calm").unwrap());
    assert_eq!(
        told.finished.unwrap().revision,
        undisturbed.finished.unwrap().revision
    );
    let (mut wild, mut calm) = (bed.record("wild"), bed.record("calm"));
    for record in [&mut wild, &mut calm] {
        record["seconds"].take();
        for epoch in record["epochs"].as_array_mut().unwrap() {
            epoch["images_per_second"].take();
            epoch["utilisation"].take();
        }
    }
    assert_eq!(wild, calm);
    let left = fs::read_dir(bed.models.path()).unwrap();
    assert_eq!(left.count(), 2, "checkpoints are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_no_training_and_leaves_the_old_model() {
    let bed = Bed::new().await;
    let old = bed.models.path().join("model");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("model.safetensors"), "the old weights").unwrap();
    // Files end at 16 or 32 KiB, less than weights take; a write past that fails as it does on a full disk.
    let full = bed.trainer("ulimit -f 32; trap '' XFSZ; exec \"$0\" \"$@\"");
    let Err((epochs, status)) = train(&full, "model", usize::MAX).await else {
        panic!("there is no room for the model")
    };
    assert_eq!(epochs.len(), 20, "training went on without checkpoints");
    assert!(status.message().contains("model.safetensors"), "{status}");
    assert_eq!(
        fs::read(old.join("model.safetensors")).unwrap(),
        b"the old weights"
    );
    assert!(
        only_names(bed.models.path())
            .iter()
            .all(|name| name == "model" || name == ".model.training")
    );
    drop(full);

    let roomy = bed.trainer("exec \"$0\" \"$@\"");
    let told = train(&roomy, "model", usize::MAX).await.unwrap();
    assert!(told.finished.is_some());
    assert_eq!(only_names(bed.models.path()), ["model"]);
}

fn only_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
