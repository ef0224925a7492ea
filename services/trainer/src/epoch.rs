//! What an epoch came to: the model's scores on the val split, and how training went.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{
    data::Dataset,
    error::TrainError,
    fit::{Learner, Observer},
    metrics::Confusion,
    pixels,
};

/// Images of one validation batch.
const VALIDATION_BATCH: usize = 128;

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: u32,
    pub epochs: u32,
    pub train_loss: f64,
    pub scores: Scores,
    /// Of the head at the epoch's last step.
    pub learning_rate: f64,
    /// Of the backbone's last layer; 0 while it is frozen.
    pub backbone_learning_rate: f64,
    /// Mean L2 norm before clipping.
    pub gradient_norm: f64,
    /// L2 norm of all parameters at the epoch's end.
    pub weight_norm: f64,
    pub images_per_second: f64,
    /// Share of the training time in which the model did not wait for images, 0 to 1.
    pub utilisation: f64,
    /// Seconds to go.
    pub eta: f64,
}

/// How a model does on the val split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub loss: f64,
    pub confusion: Confusion,
}

/// The epoch whose weights are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub epoch: u32,
    pub scores: Scores,
}

impl Scores {
    /// By macro F1, then by loss: which of two epochs is kept.
    pub fn better_than(&self, other: &Self) -> bool {
        let key = |scores: &Self| (scores.confusion.macro_f1(), -scores.loss);
        key(self) > key(other)
    }

    /// By macro F1 alone, and of a model that does not classify by loss: what patience waits for.
    pub fn gains_on(&self, other: &Self) -> bool {
        if self.confusion.is_empty() {
            return self.loss < other.loss;
        }
        self.confusion.macro_f1() > other.confusion.macro_f1()
    }
}

/// A batch of val images.
pub struct Judged {
    /// Sum over the images.
    pub loss: f64,
    /// Class of each image; empty of a model that does not classify, which is then judged by its loss alone.
    pub predicted: Vec<u32>,
}

impl Judged {
    /// By class logits `[N, classes]`: cross-entropy, and the class of the largest.
    pub fn of_logits(logits: &Tensor, labels: &Tensor) -> Result<Self, TrainError> {
        let logits = logits.f_to_kind(Kind::Float)?;
        let sum = tch::Reduction::Sum;
        let loss = logits.f_cross_entropy_loss::<Tensor>(labels, None, sum, -100, 0.0)?;
        let best = Vec::<i64>::try_from(logits.f_argmax(-1, false)?)?;
        Ok(Self {
            loss: loss.f_double_value(&[])?,
            predicted: best.into_iter().map(|class| class as u32).collect(),
        })
    }
}

/// Scores of a model on the val split.
pub fn evaluate(
    learner: &dyn Learner,
    dataset: &Dataset,
    device: tch::Device,
    observer: &dyn Observer,
) -> Result<Scores, TrainError> {
    let val = &dataset.val;
    tch::no_grad(|| {
        let mut predicted = Vec::with_capacity(val.labels.len());
        let mut loss = 0.0;
        let all: Vec<usize> = (0..val.labels.len()).collect();
        for chosen in all.chunks(VALIDATION_BATCH) {
            if observer.cancelled() {
                return Err(TrainError::Cancelled);
            }
            let (images, labels) = pixels::batch(val, dataset.side, chosen, device)?;
            let first = chosen.first().copied().unwrap_or(0);
            let judged = learner.validate(&images, &labels, first)?;
            loss += judged.loss;
            predicted.extend(judged.predicted);
        }
        let confusion = Confusion::new(dataset.classes.len(), &val.labels, &predicted);
        Ok(Scores {
            loss: loss / val.labels.len().max(1) as f64,
            confusion,
        })
    })
}
