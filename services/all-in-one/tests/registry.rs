//! A classifier that follows the model registry: promoted, swapped, rolled back and refused while callers ask it without a pause.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use all_in_one::{AllInOne, Options};
use futures::StreamExt as _;
use saga_client::Transport;
use saga_proto::{
    classifier::v1::{ClassifyRequest, classifier_service_client::ClassifierServiceClient},
    labelstore::v1::{
        ImportDatasetRequest, ModelLineage, ModelStage, PromoteModelRequest, RegisterModelRequest,
        RegisteredModel, SplitDatasetRequest, SplitPolicy,
        dataset_service_client::DatasetServiceClient,
        registry_service_client::RegistryServiceClient,
    },
    trainer::v1::{
        Architecture, Finished, ModelKind, StreamTrainingRequest, TrainingSettings,
        stream_training_response::Event, trainer_service_client::TrainerServiceClient,
    },
    r#type::v1::Image,
};
use tokio_util::sync::CancellationToken;

const NAME: &str = "followed";
const CALLERS: usize = 4;
/// Longer than two questions of a follower lie apart.
const TWO_QUESTIONS: Duration = Duration::from_secs(5);
/// Enough on a busy machine.
const LONG: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn promotions_rollbacks_and_damaged_versions_lose_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path()).await;
    let mut models = Vec::new();
    // Each replaces the one before in its output.
    for seed in 1..=3 {
        models.push(world.train(seed).await);
    }
    for (model, version) in models.iter().zip(1..) {
        assert_eq!(world.register(model).await, version);
    }
    let [one, two, three] = models.as_slice() else {
        panic!("three models")
    };

    world.promote(1).await;
    let service = "saga.classifier.v1.ClassifierService";
    let address = &world.services.addresses().vit_classifier;
    saga_client::wait_until_ready(address, service, LONG)
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            tokio::spawn(call(
                world.classifier.clone(),
                world.image.clone(),
                stop.clone(),
            ))
        })
        .collect();
    world.serves(one).await;
    world.promote(2).await;
    world.serves(two).await;
    world.promote(1).await;
    world.serves(one).await;

    let file = |of: &Finished, name| Path::new(&of.directory).join(name);
    let golden = |of| file(of, "golden.safetensors");
    fs::remove_file(golden(three)).unwrap();
    fs::copy(golden(one), golden(three)).unwrap();
    world.promote(3).await;
    world.serves_on(one).await;
    // Without checksums it is the answers that tell.
    fs::remove_file(file(three, "SHA256SUMS")).unwrap();
    world.promote(3).await;
    world.serves_on(one).await;
    let weights = Path::new(&three.directory).join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    world.promote(3).await;
    world.serves_on(one).await;
    // It follows still.
    world.promote(2).await;
    world.serves(two).await;

    stop.cancel();
    let order = [one, two, one, two].map(|model| model.revision.as_str());
    for caller in callers {
        let seen = caller.await.unwrap();
        // The last swap may come after a caller's last question.
        assert!(
            seen.len() >= 3 && seen.iter().eq(order.iter().take(seen.len())),
            "{seen:?}"
        );
    }
    world.services.stop().await.unwrap();
}

/// Asks until it is stopped; every answer must come. Which revisions answered, each as often as it took over.
async fn call(classifier: Transport, image: Image, stop: CancellationToken) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    while !stop.is_cancelled() {
        let revision = classify(&classifier, &image).await;
        if seen.last() != Some(&revision) {
            seen.push(revision);
        }
    }
    seen
}

/// The revision that answers.
async fn classify(classifier: &Transport, image: &Image) -> String {
    let request = ClassifyRequest {
        image: Some(image.clone()),
        ..ClassifyRequest::default()
    };
    let answer = ClassifierServiceClient::new(classifier.clone())
        .classify(request)
        .await
        .unwrap();
    answer.into_inner().model.unwrap().revision
}

/// Services with a data set, of which the classifier follows [`NAME`].
struct World {
    services: AllInOne,
    store: Transport,
    classifier: Transport,
    image: Image,
}

impl World {
    async fn start(folder: &Path) -> Self {
        let config = folder.join("config");
        fs::create_dir(&config).unwrap();
        let registry = format!("[registry]\nname = \"{NAME}\"\n");
        fs::write(config.join("vit-classifier.toml"), registry).unwrap();
        let services = AllInOne::start(Options {
            config_dir: Some(config),
            ..common::options(folder)
        })
        .await
        .unwrap();
        let data = folder.join("data");
        common::render(&services, &data).await;
        let [store, classifier] = [
            saga_client::connect(&services.addresses().label_store).await,
            saga_client::connect(&services.addresses().vit_classifier).await,
        ]
        .map(Result::unwrap);
        let mut datasets = DatasetServiceClient::new(store.clone());
        let import = ImportDatasetRequest {
            dataset_id: NAME.to_owned(),
            path: data.to_str().unwrap().to_owned(),
            classes: common::COUNTS.map(|(label, _)| label.to_owned()).to_vec(),
        };
        let mut imported = datasets.import_dataset(import).await.unwrap().into_inner();
        while let Some(progress) = imported.next().await {
            progress.unwrap();
        }
        let policy = SplitPolicy {
            golden_per_class: 2,
            golden_fraction: 0.2,
            val_fraction: 0.2,
            ..SplitPolicy::default()
        };
        let split = SplitDatasetRequest {
            dataset_id: NAME.to_owned(),
            policy: Some(policy),
        };
        datasets.split_dataset(split).await.unwrap();
        let labels = fs::read_to_string(data.join("labels.csv")).unwrap();
        let first = labels.lines().nth(1).unwrap().split(',').next().unwrap();
        let image = Image {
            data: fs::read(data.join(first)).unwrap().into(),
            blake3: String::new(),
        };
        Self {
            services,
            store,
            classifier,
            image,
        }
    }

    async fn train(&self, seed: u64) -> Finished {
        let trainer = saga_client::connect(&self.services.addresses().trainer).await;
        let request = StreamTrainingRequest {
            job_id: seed.to_string(),
            kind: ModelKind::VitClassifier.into(),
            dataset_id: NAME.to_owned(),
            output: "model".to_owned(),
            keep: true,
            seed,
            architecture: Some(Architecture {
                image_size: 32,
                patch_size: 8,
                hidden_size: 32,
                num_hidden_layers: 1,
                num_attention_heads: 2,
                intermediate_size: 64,
                ..Architecture::default()
            }),
            settings: Some(TrainingSettings {
                steps: 10,
                batch_size: 16,
                learning_rate: 1e-2,
                ..TrainingSettings::default()
            }),
            ..StreamTrainingRequest::default()
        };
        let mut trainer = TrainerServiceClient::new(trainer.unwrap());
        let mut answers = trainer.stream_training(request).await.unwrap().into_inner();
        while let Some(answer) = answers.next().await {
            if let Some(Event::Finished(finished)) = answer.unwrap().event {
                return finished;
            }
        }
        panic!("the stream ended without a model")
    }

    fn registry(&self) -> RegistryServiceClient<Transport> {
        RegistryServiceClient::new(self.store.clone())
    }

    async fn register(&self, model: &Finished) -> u64 {
        let model = RegisteredModel {
            name: NAME.to_owned(),
            directory: model.directory.clone(),
            revision: model.revision.clone(),
            lineage: Some(ModelLineage {
                dataset_id: NAME.to_owned(),
                recipe: NAME.to_owned(),
                ..ModelLineage::default()
            }),
            ..RegisteredModel::default()
        };
        let request = RegisterModelRequest { model: Some(model) };
        let answer = self.registry().register_model(request).await.unwrap();
        answer.into_inner().model.unwrap().version
    }

    async fn promote(&self, version: u64) {
        let request = PromoteModelRequest {
            name: NAME.to_owned(),
            version,
            stage: ModelStage::Serving.into(),
        };
        self.registry().promote_model(request).await.unwrap();
    }

    /// Asks until this model answers.
    async fn serves(&self, model: &Finished) {
        let deadline = Instant::now() + LONG;
        while classify(&self.classifier, &self.image).await != model.revision {
            assert!(
                Instant::now() < deadline,
                "{} does not serve",
                model.revision
            );
        }
    }

    /// Asks for so long that what was promoted would answer, and is answered by this model.
    async fn serves_on(&self, model: &Finished) {
        let deadline = Instant::now() + TWO_QUESTIONS;
        while Instant::now() < deadline {
            assert_eq!(
                classify(&self.classifier, &self.image).await,
                model.revision
            );
        }
    }
}
