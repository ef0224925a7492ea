//! What is sent, and the oracle: the score that each item has when it is asked alone.

use prost::bytes::Bytes;
use saga_proto::{
    gate::v1::{DescribeResponse, EvaluateRequest, Item},
    r#type::v1::Image,
};
use tonic::Status;

use crate::{error::LoadError, target::Target};

/// A pair of encoded images.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What errors call it, for example the candidate's path.
    pub name: String,
    /// The image that the gate judges.
    pub candidate: Bytes,
    /// The image it is compared with; sent only to gates that need one.
    pub source: Bytes,
    /// What the candidate shows; empty where nobody knows.
    pub label: String,
}

/// What the items say beside their images.
#[derive(Debug, Clone, Default)]
pub struct Wording {
    /// Target label of every item. `None`: the sample's own label where the gate knows it, else the gate's labels in turn.
    pub target: Option<String>,
    /// Prompt of every item; `{target}` in it stands for the item's label. `None`: "a photo of a {target} face".
    pub prompt: Option<String>,
}

/// Items with their scores.
#[derive(Debug)]
pub struct Workload {
    items: Vec<Known>,
}

/// An item whose score is known.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) item: Item,
    pub(crate) score: f64,
}

impl Workload {
    /// Evaluates each sample once, one after the other; `progress` is told how many are done.
    ///
    /// # Errors
    /// No samples, or one that the gate refuses, with its reason.
    pub async fn learn(
        target: &Target,
        samples: &[Sample],
        wording: &Wording,
        mut progress: impl FnMut(usize),
    ) -> Result<Self, LoadError> {
        let mut items = Vec::with_capacity(samples.len());
        for (index, sample) in samples.iter().enumerate() {
            let item = item(sample, index, target.description(), wording);
            let score = alone(target, item.clone())
                .await
                .map_err(|status| LoadError::Refused {
                    item: sample.name.clone(),
                    status,
                })?;
            let name = sample.name.clone();
            items.push(Known { name, item, score });
            progress(index + 1);
        }
        if items.is_empty() {
            return Err(LoadError::NoItems);
        }
        Ok(Self { items })
    }

    /// How many distinct items there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// The item of the `sequence`-th request: each in turn.
    pub(crate) fn item(&self, sequence: u64) -> Option<&Known> {
        let turn = sequence.checked_rem(self.items.len() as u64)?;
        self.items.get(turn as usize)
    }
}

async fn alone(target: &Target, item: Item) -> Result<f64, Status> {
    let request = EvaluateRequest { item: Some(item) };
    let answer = target.client(0).evaluate(request).await?.into_inner();
    let verdict = answer
        .verdict
        .ok_or_else(|| Status::unknown("the answer holds no verdict"))?;
    if verdict.score.is_finite() {
        Ok(verdict.score)
    } else {
        Err(Status::unknown(format!("its score is {}", verdict.score)))
    }
}

/// The sample as the gate needs it: nothing is sent that it says it does not look at.
fn item(sample: &Sample, index: usize, gate: &DescribeResponse, wording: &Wording) -> Item {
    let image = |data: &Bytes| Image {
        data: data.clone(),
        blake3: String::new(),
    };
    let label = label(sample, index, gate, wording);
    let prompt = match &wording.prompt {
        Some(prompt) => prompt.replace("{target}", &label),
        None if label.is_empty() => "a photo of a face".to_owned(),
        None => format!("a photo of a {label} face"),
    };
    Item {
        candidate: Some(image(&sample.candidate)),
        source: gate.needs_source.then(|| image(&sample.source)),
        prompt: if gate.needs_prompt {
            prompt
        } else {
            String::new()
        },
        target_label: if gate.needs_target_label {
            label
        } else {
            String::new()
        },
        ..Item::default()
    }
}

fn label(sample: &Sample, index: usize, gate: &DescribeResponse, wording: &Wording) -> String {
    if let Some(target) = &wording.target {
        return target.clone();
    }
    let turn = index.checked_rem(gate.labels.len());
    match turn.and_then(|turn| gate.labels.get(turn)) {
        Some(label) if !gate.labels.contains(&sample.label) => label.clone(),
        _ => sample.label.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(label: &str) -> Sample {
        Sample {
            name: "a.jpg".to_owned(),
            candidate: Bytes::from_static(b"candidate"),
            source: Bytes::from_static(b"source"),
            label: label.to_owned(),
        }
    }

    #[test]
    fn a_gate_is_sent_what_it_needs_and_no_more() {
        let mut gate = DescribeResponse {
            needs_source: true,
            ..Default::default()
        };
        let bare = item(&sample("happy"), 0, &gate, &Wording::default());
        assert!(bare.source.is_some() && bare.prompt.is_empty() && bare.target_label.is_empty());
        gate = DescribeResponse {
            needs_prompt: true,
            needs_target_label: true,
            ..Default::default()
        };
        let told = item(&sample("happy"), 0, &gate, &Wording::default());
        assert!(told.source.is_none());
        assert_eq!(
            (told.target_label.as_str(), told.prompt.as_str()),
            ("happy", "a photo of a happy face")
        );
    }

    #[test]
    fn labels_are_the_samples_or_the_gates_in_turn_unless_one_is_given() {
        let gate = DescribeResponse {
            labels: vec!["fear".to_owned(), "sad".to_owned()],
            ..Default::default()
        };
        let none = Wording::default();
        assert_eq!(label(&sample("sad"), 0, &gate, &none), "sad");
        assert_eq!(label(&sample("bored"), 1, &gate, &none), "sad");
        assert_eq!(label(&sample(""), 2, &gate, &none), "fear");
        let given = Wording {
            target: Some("anger".to_owned()),
            ..none
        };
        assert_eq!(label(&sample("sad"), 0, &gate, &given), "anger");
    }
}
