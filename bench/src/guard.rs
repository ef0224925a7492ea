//! The whole guard: services of this process on loopback, JPEG in, verdicts out, through gRPC.

use std::path::Path;
use std::time::Instant;

use all_in_one::{AllInOne, Options};
use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use saga_proto::guard::v1::{
    Candidate, CheckStreamRequest, check_stream_response::Outcome,
    guard_service_client::GuardServiceClient,
};
use saga_proto::model::v1::{LoadModelRequest, model_service_client::ModelServiceClient};
use saga_proto::r#type::v1::Image;
use tempfile::TempDir;

use crate::{kernels::pairs, peer::Round};

/// The emotion recipe with thresholds that reject nothing, so that every gate is asked about every candidate.
const RECIPE: &str = include_str!("../../services/orchestrator/recipes/emotion.toml");
const PERMISSIVE: [(&str, &str); 4] = [
    ("name = \"emotion\"", "name = \"bench\""),
    ("min = 0.35, max = 0.95", "min = -1.0, max = 1.0"),
    ("min = 0.22", "min = -1.0"),
    ("min = 0.65", "min = 0.0"),
];

/// The running services and the candidates.
pub struct Guard {
    services: AllInOne,
    candidates: Vec<Candidate>,
    _folder: TempDir,
}

impl Guard {
    pub async fn start(data: &Path, precision: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let recipes = folder.path().join("recipes");
        std::fs::create_dir(&recipes)?;
        let mut recipe = RECIPE.to_owned();
        for (from, to) in PERMISSIVE {
            ensure!(recipe.contains(from), "the emotion recipe has no {from}");
            recipe = recipe.replace(from, to);
        }
        std::fs::write(recipes.join("bench.toml"), recipe)?;
        let services = AllInOne::start(Options {
            state_dir: folder.path().join("state"),
            models_dir: folder.path().join("models"),
            recipes_dir: Some(recipes),
            config_dir: None,
            device: "cpu".to_owned(),
            precision: precision.to_owned(),
            port: None,
            metrics_port: None,
        })
        .await?;
        let addresses = services.addresses();
        for (name, address) in [
            ("vit", &addresses.vit_classifier),
            ("clip", &addresses.clip_gate),
        ] {
            let request = LoadModelRequest {
                name: name.to_owned(),
                directory: data.join(name).display().to_string(),
                make_default: true,
            };
            let transport = saga_client::connect(address).await?;
            ModelServiceClient::new(transport)
                .load_model(request)
                .await?;
        }
        let image = |data: Vec<u8>| {
            Some(Image {
                data: data.into(),
                blake3: String::new(),
            })
        };
        let candidate = |[source, candidate]: [Vec<u8>; 2]| Candidate {
            candidate: image(candidate),
            source: image(source),
            target_label: "happy".to_owned(),
            recipe: "bench".to_owned(),
            ..Candidate::default()
        };
        Ok(Self {
            candidates: pairs(data)?.into_iter().map(candidate).collect(),
            services,
            _folder: folder,
        })
    }

    /// Every candidate once, as one stream; the answers are the scores in the order of the cascade.
    pub async fn round(&self) -> Result<Round> {
        let transport = saga_client::connect(&self.services.addresses().orchestrator).await?;
        let mut client = saga_client::limited!(GuardServiceClient::new(transport));
        let request = |(sequence, candidate): (usize, Candidate)| CheckStreamRequest {
            sequence: sequence as u64,
            candidate: Some(candidate),
        };
        let requests: Vec<_> = self
            .candidates
            .iter()
            .cloned()
            .enumerate()
            .map(request)
            .collect();
        let mut answers = vec![Vec::new(); requests.len()];
        let started = Instant::now();
        let stream = client.check_stream(futures::stream::iter(requests)).await?;
        let mut stream = stream.into_inner();
        while let Some(answer) = stream.next().await {
            let answer = answer?;
            let decision = match answer.outcome {
                Some(Outcome::Decision(decision)) => decision,
                Some(Outcome::Error(error)) => {
                    bail!("candidate {}: {}", answer.sequence, error.message)
                }
                None => bail!("candidate {} has no outcome", answer.sequence),
            };
            let row = answers
                .get_mut(answer.sequence as usize)
                .context("an answer to nothing")?;
            *row = decision
                .verdicts
                .iter()
                .map(|verdict| verdict.score)
                .collect();
        }
        Ok(Round {
            seconds: started.elapsed().as_secs_f64(),
            items: answers.len(),
            answers,
        })
    }

    pub async fn stop(self) -> Result<()> {
        self.services.stop().await
    }
}
