//! How far each parameter moves at each step: first the head alone on a frozen backbone, then all layers, those near the
//! image more slowly than those near the head (layer-wise decay as in BEiT, <https://arxiv.org/abs/2106.08254>).

use tch::Tensor;

use crate::{
    error::TrainError,
    master::MasterWeights,
    request::{Settings, Transfer},
    schedule::learning_rate_share,
};

/// What trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The head alone.
    Head,
    /// Every layer.
    All,
}

/// Learning rates of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub head: f64,
    /// Of the backbone's last layer; 0 while it is frozen.
    pub backbone: f64,
}

/// The plan of both stages; the schedule of learning rates begins anew with the second.
#[derive(Debug)]
pub struct Stages {
    steps: u32,
    head_steps: u32,
    warmup: f64,
    learning_rate: f64,
    layer_decay: f64,
    /// What the learning rate is multiplied with, `[P]` f32, in each stage; none where it is 1 everywhere.
    of_head: Option<Tensor>,
    of_all: Option<Tensor>,
}

impl Stages {
    /// Of a training of so many steps.
    pub fn new(
        settings: &Settings,
        steps: u32,
        weights: &MasterWeights,
    ) -> Result<Self, TrainError> {
        let Transfer {
            head_warmup,
            layer_decay,
        } = settings.transfer;
        let layers = Layers::of(weights.names());
        let head_steps = (f64::from(steps) * head_warmup).round() as u32;
        let of_head = (head_steps > 0)
            .then(|| weights.per_parameter(|name, _| f64::from(u8::from(is_head(name)))));
        let of_all = (layer_decay < 1.0)
            .then(|| weights.per_parameter(|name, _| layer_decay.powi(layers.below_head(name))));
        Ok(Self {
            steps,
            head_steps,
            warmup: settings.warmup,
            learning_rate: settings.learning_rate,
            layer_decay,
            of_head: of_head.transpose()?,
            of_all: of_all.transpose()?,
        })
    }

    /// The stage of a step, from 0.
    pub fn stage(&self, step: u32) -> Stage {
        if step < self.head_steps {
            Stage::Head
        } else {
            Stage::All
        }
    }

    /// The head's learning rate at a step, and what it is multiplied with for each parameter.
    pub fn at(&self, step: u32) -> (f64, Option<&Tensor>) {
        let (first, length, multipliers) = match self.stage(step) {
            Stage::Head => (0, self.head_steps, &self.of_head),
            Stage::All => (self.head_steps, self.steps - self.head_steps, &self.of_all),
        };
        let share = learning_rate_share(step - first, length, self.warmup);
        (self.learning_rate * share, multipliers.as_ref())
    }

    /// Learning rates to report of a step.
    pub fn rates(&self, step: u32) -> Rates {
        let (head, _) = self.at(step);
        let backbone = match self.stage(step) {
            Stage::Head => 0.0,
            Stage::All => head * self.layer_decay,
        };
        Rates { head, backbone }
    }
}

impl Stage {
    /// Whether a parameter of this name trains.
    pub fn trains(self, name: &str) -> bool {
        self == Self::All || is_head(name)
    }
}

/// What is new for a data set: the classifier's head; of CLIP the projections and the scale.
fn is_head(name: &str) -> bool {
    [
        "classifier.",
        "visual_projection.",
        "text_projection.",
        "logit_scale",
    ]
    .iter()
    .any(|head| name.starts_with(head))
}

/// Layers of each tower of a model, by the names that transformers gives them.
struct Layers {
    /// What comes before a layer's number, and how many there are.
    towers: Vec<(String, i32)>,
}

impl Layers {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut towers: Vec<(String, i32)> = Vec::new();
        for (tower, index) in names.filter_map(layer) {
            match towers.iter_mut().find(|(known, _)| known == tower) {
                Some((_, count)) => *count = (*count).max(index + 1),
                None => towers.push((tower.to_owned(), index + 1)),
            }
        }
        Self { towers }
    }

    /// 0 for the head and the norms before it, 1 for the last layer, and so on down to what takes the input in.
    fn below_head(&self, name: &str) -> i32 {
        let count = |of: &dyn Fn(&str) -> bool| {
            let tower = self.towers.iter().find(|(tower, _)| of(tower));
            tower.map_or(0, |(_, count)| *count)
        };
        match layer(name) {
            Some((tower, index)) => count(&|known| known == tower) - index,
            None if name.contains("embed") && !name.contains("embeds") => {
                let model = name.split('.').next().unwrap_or_default();
                count(&|tower| tower.starts_with(model)) + 1
            }
            None => 0,
        }
    }
}

/// Tower and number of the layer that a parameter belongs to: the first number in its name after a list of layers.
fn layer(name: &str) -> Option<(&str, i32)> {
    [".layer.", ".layers.", ".stages."]
        .iter()
        .filter_map(|list| name.find(list).map(|start| start + list.len()))
        .min()
        .and_then(|end| {
            let (tower, rest) = name.split_at_checked(end)?;
            let number = rest.split('.').next()?;
            Some((tower, number.parse().ok()?))
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tch::{Device, Kind};

    use super::*;
    use crate::request;

    fn weights(names: &[&str]) -> MasterWeights {
        let one = |name: &&str| {
            let value = Tensor::ones([1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            (name.to_string(), value)
        };
        MasterWeights::new(names.iter().map(one).collect::<BTreeMap<_, _>>()).unwrap()
    }

    fn stages(head_warmup: f64, layer_decay: f64, names: &[&str]) -> Stages {
        let settings = Settings {
            transfer: Transfer {
                head_warmup,
                layer_decay,
            },
            warmup: 0.0,
            learning_rate: 1.0,
            ..request::tests::settings()
        };
        Stages::new(&settings, 100, &weights(names)).unwrap()
    }

    #[test]
    fn depth_is_counted_from_the_head_in_every_model() {
        let names = [
            "vit.embeddings.cls_token",
            "vit.encoder.layer.0.output.dense.weight",
            "vit.encoder.layer.11.output.dense.weight",
            "vit.layernorm.weight",
            "classifier.weight",
            "resnet.embedder.embedder.convolution.weight",
            "resnet.encoder.stages.0.layers.1.layer.0.convolution.weight",
            "resnet.encoder.stages.3.layers.0.layer.0.convolution.weight",
            "classifier.1.weight",
            "vision_model.embeddings.class_embedding",
            "vision_model.encoder.layers.2.mlp.fc1.weight",
            "text_model.embeddings.token_embedding.weight",
            "text_model.encoder.layers.1.mlp.fc1.weight",
            "visual_projection.weight",
        ];
        let layers = Layers::of(names.iter().copied());
        let depths = names.map(|name| layers.below_head(name));
        assert_eq!(depths, [13, 12, 1, 0, 0, 5, 4, 1, 0, 4, 1, 3, 1, 0]);
    }

    #[test]
    fn the_head_trains_alone_first_and_the_schedule_begins_anew() {
        let stages = stages(0.2, 0.5, &["classifier.weight", "vit.encoder.layer.0.x"]);
        let (rate, multipliers) = stages.at(0);
        assert_eq!(rate, 1.0);
        assert_eq!(
            Vec::<f32>::try_from(multipliers.unwrap()).unwrap(),
            [1.0, 0.0]
        );
        assert_eq!(stages.rates(0).backbone, 0.0);
        assert!(stages.at(19).0 < 0.01);
        let (rate, multipliers) = stages.at(20);
        assert_eq!(rate, 1.0);
        assert_eq!(
            Vec::<f32>::try_from(multipliers.unwrap()).unwrap(),
            [1.0, 0.5]
        );
        assert_eq!(
            stages.rates(20),
            Rates {
                head: 1.0,
                backbone: 0.5
            }
        );
        assert!(
            Stage::Head.trains("classifier.weight") && !Stage::Head.trains("vit.layernorm.bias")
        );
    }

    #[test]
    fn one_stage_at_one_rate_multiplies_nothing() {
        let stages = stages(0.0, 1.0, &["classifier.weight", "vit.encoder.layer.0.x"]);
        assert_eq!(stages.stage(0), Stage::All);
        assert!(stages.at(0).1.is_none());
    }
}
