//! The one training loop of every model: sample, augment, loss, clip, AdamW, moving average; validate after each epoch and
//! keep the weights with the best macro F1, and of models that do not classify those with the least loss.

use std::time::Instant;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use crate::{
    augment,
    data::{Dataset, Split},
    ema::MovingAverage,
    error::TrainError,
    master::{MasterWeights, copy_of},
    metrics::Confusion,
    pixels,
    request::{Length, Settings},
    sampler::Sampler,
    schedule::{self, AdamW},
};

/// Images of one validation batch.
const VALIDATION_BATCH: usize = 128;

/// A model that can be trained.
pub trait Learner {
    /// Differentiable scalar loss of a batch: images `[N, 3, side, side]` f32 in 0 to 1, labels `[N]` int64.
    fn loss(
        &mut self,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Tensor, TrainError>;
    /// Without dropout, how a batch of val images is done, the first of which is number `first` of the split.
    fn validate(
        &self,
        images: &Tensor,
        labels: &Tensor,
        first: usize,
    ) -> Result<Judged, TrainError>;
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

/// What an epoch came to.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// From 1.
    pub epoch: u32,
    pub epochs: u32,
    pub train_loss: f64,
    pub scores: Scores,
    pub learning_rate: f64,
    /// Mean L2 norm before clipping.
    pub gradient_norm: f64,
    pub images_per_second: f64,
    /// Seconds to go.
    pub eta: f64,
}

/// How a model does on the val split.
#[derive(Clone, Debug)]
pub struct Scores {
    pub loss: f64,
    pub confusion: Confusion,
}

/// The epoch whose weights are kept.
#[derive(Clone, Debug)]
pub struct Best {
    pub epoch: u32,
    pub scores: Scores,
}

/// The kept weights: flat parameters and untrained variables.
struct Kept {
    parameters: Tensor,
    buffers: Vec<Tensor>,
}

/// Where the loop reports to, and who may stop it.
pub trait Observer {
    /// Takes an epoch.
    fn epoch(&self, epoch: &Epoch);
    /// True as soon as nobody waits for the model; asked before every step.
    fn cancelled(&self) -> bool;
}

/// Steps, and steps of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub steps: u32,
    pub steps_per_epoch: u32,
}

impl Plan {
    /// An epoch is as many steps as show `images` images.
    pub fn new(settings: &Settings, images: usize) -> Self {
        let steps_per_epoch = images.div_ceil(settings.batch_size as usize).max(1) as u32;
        let steps = match settings.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => steps_per_epoch.saturating_mul(epochs),
        };
        Self {
            steps,
            steps_per_epoch,
        }
    }

    /// Epochs, the last of which may be shorter.
    pub fn epochs(&self) -> u32 {
        self.steps.div_ceil(self.steps_per_epoch)
    }
}

/// The end before the last step: why, and the best epoch before it.
#[derive(Debug)]
pub struct Stopped {
    pub error: TrainError,
    pub best: Option<Best>,
}

impl From<TrainError> for Stopped {
    fn from(error: TrainError) -> Self {
        Self { error, best: None }
    }
}

/// Trains; leaves the best epoch's weights in the learner, also where it stops early with an error.
pub fn fit(
    learner: &mut dyn Learner,
    weights: MasterWeights,
    dataset: &Dataset,
    settings: &Settings,
    seed: u64,
    observer: &dyn Observer,
) -> Result<Best, Stopped> {
    let mut training = Loop::new(weights, dataset, settings, seed)?;
    let ended = training.run(learner, observer);
    let best = training.keep_best()?;
    match (ended, best) {
        (Ok(()), Some(best)) => Ok(best),
        (Ok(()), None) => Err(TrainError::Cancelled.into()),
        (Err(error), best) => Err(Stopped { error, best }),
    }
}

/// State of one training.
struct Loop<'a> {
    dataset: &'a Dataset,
    settings: &'a Settings,
    plan: Plan,
    weights: MasterWeights,
    optimiser: AdamW,
    average: Option<MovingAverage>,
    sampler: Sampler,
    random: ChaCha8Rng,
    started: Instant,
    step: u32,
    best: Option<(Best, Kept)>,
}

impl<'a> Loop<'a> {
    fn new(
        weights: MasterWeights,
        dataset: &'a Dataset,
        settings: &'a Settings,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let optimiser = AdamW::new(weights.decay_mask()?, settings.weight_decay)?;
        let average = (settings.ema_decay > 0.0)
            .then(|| MovingAverage::new(weights.flat(), settings.ema_decay));
        tch::manual_seed(seed as i64);
        Ok(Self {
            plan: Plan::new(settings, dataset.train.labels.len()),
            sampler: Sampler::new(&dataset.train.labels, settings.sampling, seed),
            random: ChaCha8Rng::seed_from_u64(seed.wrapping_add(1)),
            average: average.transpose()?,
            optimiser,
            weights,
            dataset,
            settings,
            started: Instant::now(),
            step: 0,
            best: None,
        })
    }

    fn run(
        &mut self,
        learner: &mut dyn Learner,
        observer: &dyn Observer,
    ) -> Result<(), TrainError> {
        let mut without_gain = 0;
        while self.step < self.plan.steps {
            let epoch = self.epoch(learner, observer)?;
            let better = self
                .best
                .as_ref()
                .is_none_or(|(best, _)| epoch.scores.better_than(&best.scores));
            if better {
                let kept = Kept {
                    parameters: copy_of(self.judged())?,
                    buffers: self.weights.copy_buffers()?,
                };
                self.best = Some((
                    Best {
                        epoch: epoch.epoch,
                        scores: epoch.scores.clone(),
                    },
                    kept,
                ));
            }
            without_gain = if better { 0 } else { without_gain + 1 };
            observer.epoch(&epoch);
            if self.settings.patience > 0 && without_gain >= self.settings.patience {
                break;
            }
        }
        Ok(())
    }

    /// Puts the best weights back into the model.
    fn keep_best(&mut self) -> Result<Option<Best>, TrainError> {
        let Some((best, kept)) = self.best.take() else {
            return Ok(None);
        };
        self.weights.restore(&kept.parameters, &kept.buffers)?;
        Ok(Some(best))
    }

    /// The weights that are validated and kept: the average where there is one.
    fn judged(&self) -> &Tensor {
        self.average
            .as_ref()
            .map_or(self.weights.flat(), MovingAverage::weights)
    }

    fn epoch(
        &mut self,
        learner: &mut dyn Learner,
        observer: &dyn Observer,
    ) -> Result<Epoch, TrainError> {
        let (begun, first) = (Instant::now(), self.step);
        let last = self.plan.steps.min(first + self.plan.steps_per_epoch);
        let (mut loss, mut norm) = (0.0, 0.0);
        while self.step < last {
            if observer.cancelled() {
                return Err(TrainError::Cancelled);
            }
            let (step_loss, step_norm) = self.one_step(learner)?;
            loss += step_loss;
            norm += step_norm;
            self.step += 1;
        }
        let steps = f64::from(last - first);
        let images_per_second =
            steps * f64::from(self.settings.batch_size) / begun.elapsed().as_secs_f64();
        let learning_rate = self.settings.learning_rate * self.share(last - 1);
        let scores = self.validate(learner, observer)?;
        Ok(Epoch {
            epoch: first / self.plan.steps_per_epoch + 1,
            epochs: self.plan.epochs(),
            train_loss: loss / steps,
            scores,
            learning_rate,
            gradient_norm: norm / steps,
            images_per_second,
            eta: self.started.elapsed().as_secs_f64() / f64::from(last)
                * f64::from(self.plan.steps - last),
        })
    }

    fn share(&self, step: u32) -> f64 {
        schedule::learning_rate_share(step, self.plan.steps, self.settings.warmup)
    }

    /// Loss and gradient norm of one step.
    fn one_step(&mut self, learner: &mut dyn Learner) -> Result<(f64, f64), TrainError> {
        let chosen: Vec<usize> = self
            .sampler
            .by_ref()
            .take(self.settings.batch_size as usize)
            .collect();
        let (images, labels) = pixels::batch(
            &self.dataset.train,
            self.dataset.side,
            &chosen,
            self.weights.flat().device(),
        )?;
        let images = if self.settings.augment {
            augment::views(&images, &mut self.random)?
        } else {
            images
        };
        let loss = learner.loss(&images, &labels, &mut self.random)?;
        let value = loss.f_double_value(&[])?;
        loss.f_backward()?;
        let mut gradient = self.weights.take_gradient()?;
        let norm = schedule::clip(&mut gradient, self.settings.gradient_clip)?;
        if !value.is_finite() || !norm.is_finite() {
            return Err(TrainError::Diverged {
                step: self.step + 1,
                kept: None,
            });
        }
        let learning_rate = self.settings.learning_rate * self.share(self.step);
        self.optimiser
            .step(self.weights.flat_mut(), &gradient, learning_rate)?;
        self.weights.publish()?;
        if let Some(average) = &mut self.average {
            average.update(self.weights.flat())?;
        }
        Ok((value, norm))
    }

    /// Scores of the judged weights; the trained ones are back in the model afterwards.
    fn validate(
        &mut self,
        learner: &dyn Learner,
        observer: &dyn Observer,
    ) -> Result<Scores, TrainError> {
        if let Some(average) = &self.average {
            self.weights.lend(average.weights())?;
        }
        let scores = evaluate(
            learner,
            &self.dataset.val,
            self.dataset,
            self.weights.flat().device(),
            observer,
        );
        self.weights.publish()?;
        scores
    }
}

impl Scores {
    fn better_than(&self, other: &Self) -> bool {
        let key = |scores: &Self| (scores.confusion.macro_f1(), -scores.loss);
        key(self) > key(other)
    }
}

/// Scores of a model on a split.
pub fn evaluate(
    learner: &dyn Learner,
    split: &Split,
    dataset: &Dataset,
    device: tch::Device,
    observer: &dyn Observer,
) -> Result<Scores, TrainError> {
    tch::no_grad(|| {
        let mut predicted = Vec::with_capacity(split.labels.len());
        let mut loss = 0.0;
        let all: Vec<usize> = (0..split.labels.len()).collect();
        for chosen in all.chunks(VALIDATION_BATCH) {
            if observer.cancelled() {
                return Err(TrainError::Cancelled);
            }
            let (images, labels) = pixels::batch(split, dataset.side, chosen, device)?;
            let first = chosen.first().copied().unwrap_or(0);
            let judged = learner.validate(&images, &labels, first)?;
            loss += judged.loss;
            predicted.extend(judged.predicted);
        }
        let confusion = Confusion::new(dataset.classes.len(), &split.labels, &predicted);
        Ok(Scores {
            loss: loss / split.labels.len().max(1) as f64,
            confusion,
        })
    })
}
