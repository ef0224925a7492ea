//! Gate 2 of the cascade, semantics: the cosine of the candidate and its prompt.

use std::{collections::HashMap, slice, sync::Arc};

use saga_gate::{Candidate, Gate, Judgement};
use saga_proto::gate::v1::{DescribeResponse, ThresholdSpec};
use tonic::Status;

use crate::service::{Inference, check_text, cosine};

/// The gate "clip".
pub(crate) struct ClipGate {
    pub(crate) inference: Arc<Inference>,
    pub(crate) min: f64,
}

impl Gate for ClipGate {
    fn describe(&self) -> DescribeResponse {
        DescribeResponse {
            name: "clip".to_owned(),
            description: "Cosine of the CLIP embeddings of candidate and prompt".to_owned(),
            needs_prompt: true,
            thresholds: vec![ThresholdSpec {
                name: "min".to_owned(),
                default_value: self.min,
                lowest: -1.0,
                highest: 1.0,
            }],
            model: self
                .inference
                .models
                .get("")
                .ok()
                .map(|held| held.version()),
            ..DescribeResponse::default()
        }
    }

    async fn evaluate(&self, candidate: Candidate) -> Result<Judgement, Status> {
        let held = self.inference.models.get(&candidate.model)?;
        let Candidate {
            candidate,
            prompt,
            call,
            ..
        } = candidate;
        check_text("item.prompt", &prompt)?;
        let (image, timing) = self
            .inference
            .image(&held, "item.candidate", candidate, call)
            .await?;
        let prompts = self
            .inference
            .texts(&held, slice::from_ref(&prompt), call)
            .await?;
        let score = prompts
            .first()
            .map_or(f64::NAN, |prompt| cosine(&image, &prompt.embedding));
        Ok(Judgement {
            score,
            rejected: None,
            model: Some(held.version()),
            timing,
            details: HashMap::new(),
        })
    }
}
