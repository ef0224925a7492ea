//! Gate 3 of the cascade, confidence: the probability of the target label.

use std::{collections::HashMap, sync::Arc};

use saga_chassis::status::invalid_argument;
use saga_gate::{Candidate, Gate, Judgement};
use saga_proto::gate::v1::{DescribeResponse, ThresholdSpec};
use tonic::Status;

use crate::{
    predictions::{probabilities, ranked},
    service::Inference,
};

/// The gate "vit".
pub(crate) struct VitGate {
    pub(crate) inference: Arc<Inference>,
    pub(crate) min: f64,
}

impl Gate for VitGate {
    fn describe(&self) -> DescribeResponse {
        let held = self.inference.models.get("").ok();
        DescribeResponse {
            name: "vit".to_owned(),
            description: "Probability that a vision transformer gives the target label".to_owned(),
            needs_target_label: true,
            thresholds: vec![ThresholdSpec {
                name: "min".to_owned(),
                default_value: self.min,
                lowest: 0.0,
                highest: 1.0,
            }],
            model: held.as_ref().map(|held| held.version()),
            labels: held
                .map(|held| held.model.labels.clone())
                .unwrap_or_default(),
            ..DescribeResponse::default()
        }
    }

    async fn evaluate(&self, candidate: Candidate) -> Result<Judgement, Status> {
        let held = self.inference.models.get(&candidate.model)?;
        let labels = &held.model.labels;
        let target = labels
            .iter()
            .position(|label| *label == candidate.target_label)
            .ok_or_else(|| {
                let why = format!(
                    "is {:?}; the model knows: {}",
                    candidate.target_label,
                    labels.join(", ")
                );
                invalid_argument("item.target_label", why)
            })?;
        let image = candidate.candidate;
        let (answer, timing) = self
            .inference
            .classify(&held, "item.candidate", image, false, candidate.call)
            .await?;
        let probabilities = probabilities(&answer.logits);
        let score = probabilities
            .get(target)
            .copied()
            .map_or(f64::NAN, f64::from);
        Ok(Judgement {
            score,
            rejected: None,
            model: Some(held.version()),
            timing,
            details: details(&probabilities),
        })
    }
}

/// What the model would have said, for those who look into a rejection.
fn details(probabilities: &[f32]) -> HashMap<String, f64> {
    let Some(&(index, probability)) = ranked(probabilities).first() else {
        return HashMap::new();
    };
    HashMap::from([
        ("predicted_index".to_owned(), index as f64),
        ("predicted_probability".to_owned(), probability.into()),
    ])
}
