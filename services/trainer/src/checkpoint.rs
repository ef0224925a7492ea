//! The state of a training on disk, so that one that was killed goes on at its last checkpoint, bit for bit.
//!
//! A checkpoint lies beside the output, in `.NAME.training/checkpoint`, and is replaced as a whole. It holds what cannot be
//! told from the request: random numbers and the order of images follow from the seed and the step (see [`crate::random`]). It
//! is taken up by the same request alone, and removed when the model is written or cannot be trained. Where it cannot be
//! written, for want of room say, the one before stays whole and training goes on: losing the insurance is no reason to lose
//! the training.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use saga_models::{ModelError, directory};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::{
    epoch::{Best, Epoch},
    error::TrainError,
};

const TENSORS: &str = "state.safetensors";
const PROGRESS: &str = "progress.toml";

/// Everything in a checkpoint but the tensors. TOML, whose numbers come back with every bit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Of the job, see [`crate::output::Identity`].
    pub request_hash: String,
    /// Steps done.
    pub step: u32,
    /// Seconds spent on them.
    pub seconds: f64,
    /// Sums over the steps of the epoch that is not over.
    pub loss: f64,
    pub gradient_norm: f64,
    /// Epochs since the last gain, see [`crate::epoch::Scores::gains_on`].
    pub without_gain: u32,
    pub best: Option<Best>,
    pub epochs: Vec<Epoch>,
}

/// A training's state.
#[derive(Debug)]
pub struct State {
    pub progress: Progress,
    pub tensors: BTreeMap<String, Tensor>,
}

impl State {
    /// A tensor by its name.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, TrainError> {
        self.tensors
            .get(name)
            .ok_or_else(|| TrainError::Checkpoint(format!("it has no tensor '{name}'")))
    }
}

/// Where the checkpoints of one job are kept.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    request_hash: String,
    every: Duration,
    last: Instant,
}

impl Checkpoints {
    /// Of the job with this hash, beside its output, one every so often.
    pub fn new(output: &Path, request_hash: &str, every: Duration) -> Self {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        Self {
            folder: output.with_file_name(format!(".{name}.training")),
            request_hash: request_hash.to_owned(),
            every,
            last: Instant::now(),
        }
    }

    /// The state to go on from. What another request left here, or cannot be read, is removed.
    pub fn load(&self) -> Option<State> {
        let found = self.folder.is_dir().then(|| self.read())?;
        match found {
            Ok(state) if state.progress.request_hash == self.request_hash => Some(state),
            Ok(_) => {
                tracing::info!(
                    folder = %self.folder.display(),
                    "the checkpoint is of another request or other images; training from the start"
                );
                self.remove();
                None
            }
            Err(error) => {
                tracing::warn!(%error, "no checkpoint to go on from; training from the start");
                self.remove();
                None
            }
        }
    }

    fn read(&self) -> Result<State, TrainError> {
        let folder = self.checkpoint();
        let path = folder.join(PROGRESS);
        let text = fs::read_to_string(&path).map_err(|source| TrainError::Io { path, source })?;
        let progress = toml::from_str(&text)
            .map_err(|error| TrainError::Checkpoint(format!("{PROGRESS}: {error}")))?;
        let tensors = Tensor::read_safetensors(folder.join(TENSORS))?;
        Ok(State {
            progress,
            tensors: tensors.into_iter().collect(),
        })
    }

    /// Whether it is time for the next checkpoint.
    pub fn due(&self) -> bool {
        self.last.elapsed() >= self.every
    }

    /// Replaces the checkpoint; where that fails, the one before stays, and the log says why.
    pub fn save(&mut self, state: State) {
        let step = state.progress.step;
        match self.write(state) {
            Ok(()) => tracing::debug!(step, "checkpoint written"),
            Err(error) => tracing::warn!(
                step, %error,
                "no checkpoint could be written; training goes on, and would resume at the one before"
            ),
        }
        self.last = Instant::now();
    }

    fn write(&self, mut state: State) -> Result<(), TrainError> {
        state.progress.request_hash.clone_from(&self.request_hash);
        let text = toml::to_string(&state.progress)
            .map_err(|error| TrainError::Checkpoint(format!("{PROGRESS}: {error}")))?;
        let tensors = state
            .tensors
            .iter()
            .map(|(name, tensor)| Ok((name, tensor.f_to_device(Device::Cpu)?.f_contiguous()?)))
            .collect::<Result<Vec<_>, tch::TchError>>()?;
        self.sweep();
        Ok(directory::replace(&self.checkpoint(), |new| {
            Tensor::write_safetensors(&tensors, new.join(TENSORS))?;
            let path = new.join(PROGRESS);
            fs::write(&path, text).map_err(|source| ModelError::Io { path, source })
        })?)
    }

    /// Removes what a kill in the middle of writing left behind.
    fn sweep(&self) {
        let checkpoint = self.checkpoint();
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for left in entries
            .map(|entry| entry.path())
            .filter(|path| *path != checkpoint)
        {
            let _ = fs::remove_dir_all(left);
        }
    }

    /// Removes the checkpoint: the model is written, or cannot be trained.
    pub fn remove(&self) {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!(
                %error, folder = %self.folder.display(), "a checkpoint stays behind; delete it"
            ),
            _ => {}
        }
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{epoch::Scores, metrics::Confusion};

    fn checkpoints(folder: &Path, request_hash: &str) -> Checkpoints {
        Checkpoints::new(&folder.join("run/model"), request_hash, Duration::ZERO)
    }

    fn state(step: u32) -> State {
        let scores = Scores {
            loss: 0.1 + 0.2,
            confusion: Confusion::new(2, &[0, 1, 1], &[0, 1, 0]),
        };
        let epoch = Epoch {
            epoch: 1,
            epochs: 2,
            train_loss: 1.0 / 3.0,
            scores: scores.clone(),
            learning_rate: 1e-3,
            backbone_learning_rate: 0.0,
            gradient_norm: 2f64.sqrt(),
            weight_norm: 1e300,
            images_per_second: 5e-324,
            utilisation: 0.7,
            eta: 0.0,
        };
        State {
            progress: Progress {
                step,
                loss: std::f64::consts::PI,
                best: Some(Best { epoch: 1, scores }),
                epochs: vec![epoch],
                ..Progress::default()
            },
            tensors: [
                (
                    "weights".to_owned(),
                    Tensor::from_slice(&[0.1f32, f32::MIN_POSITIVE]),
                ),
                ("buffer.0".to_owned(), Tensor::from(7i64)),
            ]
            .into(),
        }
    }

    #[test]
    fn every_bit_comes_back_for_the_same_request_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut ours = checkpoints(folder.path(), "ours");
        ours.save(state(5));
        ours.save(state(6));
        let found = ours.load().unwrap();
        let expected = Progress {
            request_hash: "ours".into(),
            ..state(6).progress
        };
        assert_eq!(found.progress, expected);
        assert_eq!(found.tensors, state(6).tensors);
        assert!(found.tensor("mean").is_err());

        assert!(checkpoints(folder.path(), "another").load().is_none());
        assert!(ours.load().is_none(), "it was another's to remove");
        assert_eq!(fs::read_dir(folder.path().join("run")).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_checkpoint_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoints = checkpoints(folder.path(), "ours");
        checkpoints.save(state(5));
        fs::write(checkpoints.checkpoint().join(TENSORS), "half").unwrap();
        assert!(checkpoints.load().is_none());
        assert!(!checkpoints.folder.exists());
    }

    #[test]
    fn what_a_kill_left_behind_goes_with_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoints = checkpoints(folder.path(), "ours");
        checkpoints.save(state(5));
        fs::create_dir(checkpoints.folder.join(".saving-killed")).unwrap();
        checkpoints.save(state(6));
        assert_eq!(fs::read_dir(&checkpoints.folder).unwrap().count(), 1);
    }
}
