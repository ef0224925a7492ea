//! What the models of one run's arms answered on its golden set: all that figures are made of.
//!
//! Kept beside the figures (`eval_answers.json`), so that several runs on one data set, each with a split of its own, can be judged
//! together later without a model.

use saga_proto::labelstore::v1::GoldenRead;
use serde::{Deserialize, Serialize};

use crate::run::judge::Answer;

/// One run, evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The run whose images are judged.
    pub run_id: String,
    /// Its recipe's name.
    pub recipe: String,
    /// In label order; other fields mean a class by its index here.
    pub classes: Vec<String>,
    /// Real train images by class.
    pub train_images: Vec<u64>,
    /// Seeds of the trainings of every arm.
    pub seeds: Vec<u64>,
    /// Optimiser steps of every training.
    pub steps: u32,
    /// The test set, in the order of the models' answers.
    pub images: Vec<JudgedImage>,
    /// Whether an evaluation of this run had read the test set before.
    pub read_again: bool,
    /// Every read before this one, of any run, oldest first.
    pub earlier_reads: Vec<EarlierRead>,
    /// In the order they were asked for.
    pub arms: Vec<JudgedArm>,
}

/// One golden image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedImage {
    /// Of the label store; the same in every run on the same bytes.
    pub id: String,
    /// Whom it shows; empty where nobody is named.
    pub subject: String,
    /// Its class.
    pub truth: usize,
}

/// One read of the golden set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierRead {
    /// Seconds since 1970.
    pub time: i64,
    /// What for.
    pub purpose: String,
    /// By which run.
    pub run_id: String,
}

impl From<GoldenRead> for EarlierRead {
    fn from(read: GoldenRead) -> Self {
        Self {
            time: read.time.map_or(0, |time| time.seconds),
            purpose: read.purpose,
            run_id: read.run_id,
        }
    }
}

/// One arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedArm {
    /// As in a request.
    pub name: String,
    /// For people.
    pub about: String,
    /// Images beyond the real train split, by class.
    pub added: Vec<u64>,
    /// By seed.
    pub models: Vec<JudgedModel>,
}

/// One trained model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedModel {
    /// On the trainer's machine.
    pub directory: String,
    /// Of its weights.
    pub revision: String,
    /// Most probable class of each image.
    pub answers: Vec<usize>,
    /// Probability of that class, 0 to 1.
    pub probabilities: Vec<f32>,
}

impl JudgedModel {
    pub(crate) fn new(directory: String, revision: String, answers: &[Answer]) -> Self {
        let probability = |answer: &Answer| answer.probability as f32;
        Self {
            directory,
            revision,
            answers: answers.iter().map(|answer| answer.class).collect(),
            probabilities: answers.iter().map(probability).collect(),
        }
    }

    /// Image by image.
    pub(crate) fn answers(&self) -> impl Iterator<Item = Answer> {
        let pairs = self.answers.iter().zip(&self.probabilities);
        pairs.map(|(&class, &probability)| Answer {
            class,
            probability: probability.into(),
        })
    }
}
