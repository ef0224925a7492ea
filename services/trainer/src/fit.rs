//! The one training loop of every model: batches, loss, clip, AdamW, moving average; validate after each epoch and keep the
//! weights with the best macro F1, and of models that do not classify those with the least loss.

use std::{collections::BTreeMap, time::Instant};

use tch::Tensor;

use crate::{
    checkpoint::{Checkpoints, Progress, State},
    ema::MovingAverage,
    error::TrainError,
    loader::{Loader, Source},
    master::{MasterWeights, copy_of},
    random::{self, Purpose},
    request::{Length, Settings},
    schedule::{self, AdamW},
    stages::{Stage, Stages},
};
pub use crate::{
    epoch::{Best, Epoch, Judged, Scores, evaluate},
    learner::Learner,
};

/// The kept weights: flat parameters and untrained variables.
struct Kept {
    parameters: Tensor,
    buffers: Vec<Tensor>,
}

/// Where the loop reports to, and who may stop it.
pub trait Observer {
    /// Takes an epoch; those before the checkpoint that a training goes on from come again, at its start.
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
        let steps_per_epoch = images.div_ceil(settings.images_per_step()).max(1) as u32;
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

/// What a training goes on from, and where it leaves that.
#[derive(Debug)]
pub struct Resume {
    pub checkpoints: Checkpoints,
    pub state: Option<State>,
}

/// Trains; leaves the best epoch's weights in the learner, also where it stops early with an error. Without `resume` no
/// checkpoints are written.
pub fn fit(
    learner: &mut dyn Learner,
    weights: MasterWeights,
    source: Source,
    resume: Option<Resume>,
    observer: &dyn Observer,
) -> Result<Best, Stopped> {
    let mut training = Loop::new(weights, source)?;
    if let Some(resume) = resume {
        training.checkpoints = Some(resume.checkpoints);
        if let Some(state) = resume.state {
            training.restore(state)?;
            training
                .progress
                .epochs
                .iter()
                .for_each(|epoch| observer.epoch(epoch));
        }
    }
    let ended = std::thread::scope(|scope| {
        let first = training.batch(0);
        training.run(learner, &mut Loader::start(scope, source, first)?, observer)
    });
    let best = training.keep_best()?;
    match (ended, best) {
        (Ok(()), Some(best)) => Ok(best),
        (Ok(()), None) => Err(TrainError::Cancelled.into()),
        (Err(error), best) => Err(Stopped { error, best }),
    }
}

/// State of one training.
struct Loop<'a> {
    source: Source<'a>,
    plan: Plan,
    stages: Stages,
    /// What gradients flow to now.
    stage: Option<Stage>,
    weights: MasterWeights,
    optimiser: AdamW,
    average: Option<MovingAverage>,
    progress: Progress,
    kept: Option<Kept>,
    checkpoints: Option<Checkpoints>,
    /// When this process began, after how many steps and seconds.
    begun: (Instant, u32, f64),
}

impl<'a> Loop<'a> {
    fn new(weights: MasterWeights, source: Source<'a>) -> Result<Self, TrainError> {
        let settings = source.settings;
        let plan = Plan::new(settings, source.dataset.train.labels.len());
        let average = (settings.ema_decay > 0.0)
            .then(|| MovingAverage::new(weights.flat(), settings.ema_decay));
        Ok(Self {
            stages: Stages::new(settings, plan.steps, &weights)?,
            stage: None,
            optimiser: AdamW::new(weights.decay_mask()?, settings.weight_decay)?,
            average: average.transpose()?,
            plan,
            weights,
            source,
            progress: Progress::default(),
            kept: None,
            checkpoints: None,
            begun: (Instant::now(), 0, 0.0),
        })
    }

    /// Number of a batch of the next step, over the whole training.
    fn batch(&self, of_step: u32) -> u64 {
        let each = u64::from(self.source.settings.accumulation);
        u64::from(self.progress.step) * each + u64::from(of_step)
    }

    fn run(
        &mut self,
        learner: &mut dyn Learner,
        loader: &mut Loader,
        observer: &dyn Observer,
    ) -> Result<(), TrainError> {
        let patience = self.source.settings.patience;
        let finished = |of: &Progress| patience > 0 && of.without_gain >= patience;
        while self.epochs() < self.plan.epochs() && !finished(&self.progress) {
            let epoch = match self.epoch(learner, loader, observer) {
                Err(TrainError::Cancelled) => {
                    self.checkpoint()?;
                    return Err(TrainError::Cancelled);
                }
                epoch => epoch?,
            };
            let best = self.progress.best.as_ref().map(|best| &best.scores);
            let gained = best.is_none_or(|best| epoch.scores.gains_on(best));
            self.progress.without_gain = if gained {
                0
            } else {
                self.progress.without_gain + 1
            };
            if best.is_none_or(|best| epoch.scores.better_than(best)) {
                self.kept = Some(Kept {
                    parameters: copy_of(self.judged())?,
                    buffers: self.weights.copy_buffers()?,
                });
                self.progress.best = Some(Best {
                    epoch: epoch.epoch,
                    scores: epoch.scores.clone(),
                });
            }
            observer.epoch(&epoch);
            self.progress.epochs.push(epoch);
        }
        Ok(())
    }

    /// How many epochs are over.
    fn epochs(&self) -> u32 {
        self.progress.epochs.len() as u32
    }

    /// Puts the best weights back into the model.
    fn keep_best(&mut self) -> Result<Option<Best>, TrainError> {
        if let Some(kept) = self.kept.take() {
            self.weights.restore(&kept.parameters, &kept.buffers)?;
        }
        Ok(self.progress.best.take())
    }

    /// The weights that are validated and kept: the average where there is one.
    fn judged(&self) -> &Tensor {
        self.average
            .as_ref()
            .map_or(self.weights.flat(), MovingAverage::weights)
    }

    /// The epoch that is not over, from the next step on; of one that was stopped while it validated no step is left.
    fn epoch(
        &mut self,
        learner: &mut dyn Learner,
        loader: &mut Loader,
        observer: &dyn Observer,
    ) -> Result<Epoch, TrainError> {
        let (begun, from) = (Instant::now(), self.progress.step);
        let first = self.epochs() * self.plan.steps_per_epoch;
        let last = self.plan.steps.min(first + self.plan.steps_per_epoch);
        loader.take_waited();
        while self.progress.step < last {
            if observer.cancelled() {
                return Err(TrainError::Cancelled);
            }
            if self.checkpoints.as_ref().is_some_and(Checkpoints::due) {
                self.checkpoint()?;
            }
            let (loss, norm) = self.one_step(learner, loader)?;
            self.progress.loss += loss;
            self.progress.gradient_norm += norm;
            self.progress.step += 1;
        }
        let seconds = begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        let images = f64::from(last - from) * self.source.settings.images_per_step() as f64;
        let waited = loader.take_waited().as_secs_f64();
        let rates = self.stages.rates(last - 1);
        let scores = self.validate(learner, observer)?;
        let steps = f64::from(last - first);
        let (start, steps_before, _) = self.begun;
        let each = start.elapsed().as_secs_f64() / f64::from((last - steps_before).max(1));
        Ok(Epoch {
            epoch: first / self.plan.steps_per_epoch + 1,
            epochs: self.plan.epochs(),
            train_loss: std::mem::take(&mut self.progress.loss) / steps,
            scores,
            learning_rate: rates.head,
            backbone_learning_rate: rates.backbone,
            gradient_norm: std::mem::take(&mut self.progress.gradient_norm) / steps,
            weight_norm: schedule::norm(self.weights.flat())?,
            images_per_second: images / seconds,
            utilisation: (1.0 - waited / seconds).max(0.0),
            eta: each * f64::from(self.plan.steps - last),
        })
    }

    /// Loss and gradient norm of one step.
    fn one_step(
        &mut self,
        learner: &mut dyn Learner,
        loader: &mut Loader,
    ) -> Result<(f64, f64), TrainError> {
        let settings = self.source.settings;
        let step = self.progress.step;
        let stage = self.stages.stage(step);
        if self.stage.replace(stage) != Some(stage) {
            self.weights.train_only(|name| stage.trains(name))?;
        }
        learner.begin_step(f64::from(step) / f64::from(self.plan.steps), stage);
        let mut value = 0.0;
        for part in 0..settings.accumulation {
            let number = self.batch(part);
            let batch = loader.next(self.weights.flat().device())?;
            random::seed_dropout(self.source.seed, number);
            let mut random = random::of_batch(self.source.seed, number, Purpose::Loss);
            let loss = learner
                .loss(&batch, &mut random)?
                .f_div_scalar(f64::from(settings.accumulation))?;
            value += loss.f_double_value(&[])?;
            loss.f_backward()?;
        }
        let mut gradient = self.weights.take_gradient()?;
        let norm = schedule::clip(&mut gradient, settings.gradient_clip)?;
        if !value.is_finite() || !norm.is_finite() {
            return Err(TrainError::Diverged {
                step: step + 1,
                kept: None,
            });
        }
        let (learning_rate, multipliers) = self.stages.at(step);
        self.optimiser.step(
            self.weights.flat_mut(),
            &gradient,
            learning_rate,
            multipliers,
        )?;
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
        let device = self.weights.flat().device();
        let scores = evaluate(learner, self.source.dataset, device, observer);
        self.weights.publish()?;
        scores
    }

    /// Leaves the state behind, before a step.
    fn checkpoint(&mut self) -> Result<(), TrainError> {
        let (start, _, seconds_before) = self.begun;
        self.progress.seconds = seconds_before + start.elapsed().as_secs_f64();
        let state = State {
            progress: self.progress.clone(),
            tensors: self.tensors(),
        };
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.save(state);
        }
        Ok(())
    }

    fn tensors(&self) -> BTreeMap<String, Tensor> {
        let (mean, square) = self.optimiser.moments();
        let mut tensors = vec![
            ("weights", self.weights.flat()),
            ("mean", mean),
            ("square", square),
        ];
        tensors.extend(self.average.as_ref().map(|of| ("average", of.weights())));
        tensors.extend(self.kept.as_ref().map(|kept| ("best", &kept.parameters)));
        let numbered = |name: &'static str, buffers: &[Tensor]| -> Vec<(String, Tensor)> {
            let named = |(index, tensor): (usize, &Tensor)| {
                (format!("{name}.{index}"), tensor.shallow_clone())
            };
            buffers.iter().enumerate().map(named).collect()
        };
        let kept = self
            .kept
            .as_ref()
            .map(|kept| numbered("best.buffer", &kept.buffers));
        tensors
            .into_iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone()))
            .chain(numbered("buffer", self.weights.buffers()))
            .chain(kept.unwrap_or_default())
            .collect()
    }

    fn restore(&mut self, state: State) -> Result<(), TrainError> {
        let count = self.weights.buffers().len();
        let numbered = |name: &str| -> Result<Vec<Tensor>, TrainError> {
            let each = |index| state.tensor(&format!("{name}.{index}"));
            let tensors = (0..count).map(|index| each(index).map(Tensor::shallow_clone));
            tensors.collect()
        };
        let buffers = numbered("buffer")?;
        if state.progress.best.is_some() {
            self.kept = Some(Kept {
                parameters: copy_of(state.tensor("best")?)?,
                buffers: numbered("best.buffer")?,
            });
        }
        let step = state.progress.step;
        self.weights.restore(state.tensor("weights")?, &buffers)?;
        self.optimiser
            .restore(step, state.tensor("mean")?, state.tensor("square")?)?;
        if let Some(average) = &mut self.average {
            average.restore(step, state.tensor("average")?)?;
        }
        self.begun = (Instant::now(), step, state.progress.seconds);
        self.progress = state.progress;
        Ok(())
    }
}

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
