//! A training that is stopped at any moment goes on to the same model.

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use saga_models::{Runtime, preprocess::Config};

use super::*;
use crate::{
    classifier::Classifier,
    request::{self, Job},
    split::{Dataset, Split},
};

/// Two steps an epoch, five steps: the third epoch is a short one.
const STEPS: u32 = 5;

fn dataset() -> Dataset {
    let split = |images: u32| Split {
        pixels: (0..images * 3 * 32 * 32)
            .map(|byte| (byte * 7 % 251) as u8)
            .collect(),
        labels: (0..images).map(|image| image % 2).collect(),
        ..Default::default()
    };
    Dataset {
        classes: vec!["a".into(), "b".into()],
        side: 32,
        train: split(8),
        val: split(4),
    }
}

/// Asks to stop when it has been asked so often.
#[derive(Default)]
struct Impatient {
    asked: AtomicU32,
    stops_at: Option<u32>,
    epochs: Mutex<Vec<(u32, u64, u64)>>,
}

impl Observer for Impatient {
    fn epoch(&self, epoch: &Epoch) {
        let loss = [epoch.train_loss, epoch.scores.loss].map(f64::to_bits);
        self.epochs
            .lock()
            .unwrap()
            .push((epoch.epoch, loss[0], loss[1]));
    }

    fn cancelled(&self) -> bool {
        Some(self.asked.fetch_add(1, Ordering::Relaxed)) == self.stops_at
    }
}

/// The weights and the epochs that were told; how often it asked; and how it ended.
fn train(folder: &Path, stops_at: Option<u32>) -> (Vec<Tensor>, Impatient, Result<Best, Stopped>) {
    let dataset = dataset();
    let job = Job {
        settings: Settings {
            length: Length::Steps(STEPS),
            ema_decay: 0.5,
            ..request::tests::settings()
        },
        ..request::tests::job()
    };
    let mut model = Classifier::new(&job, &dataset, Config::vit(32), Runtime::REFERENCE).unwrap();
    let weights = MasterWeights::new(model.weights().tensors()).unwrap();
    let checkpoints = Checkpoints::new(&folder.join("model"), "", Duration::MAX);
    let resume = Resume {
        state: checkpoints.load(),
        checkpoints,
    };
    let source = Source {
        dataset: &dataset,
        settings: &job.settings,
        seed: 3,
    };
    let observer = Impatient {
        stops_at,
        ..Default::default()
    };
    let ended = fit(&mut model, weights, source, Some(resume), &observer);
    let weights = model.weights().tensors().into_values();
    (
        weights.map(|tensor| tensor.copy()).collect(),
        observer,
        ended,
    )
}

#[test]
fn stopped_at_any_moment_it_goes_on_to_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, undisturbed, ended) = train(folder.path(), None);
    ended.unwrap();
    let asked = undisturbed.asked.into_inner();
    // Before every step, and in every validation.
    assert_eq!(asked, STEPS + 3);
    let epochs = undisturbed.epochs.into_inner().unwrap();
    for moment in 0..asked {
        let folder = tempfile::tempdir().unwrap();
        let (_, _, stopped) = train(folder.path(), Some(moment));
        assert!(matches!(
            stopped,
            Err(Stopped {
                error: TrainError::Cancelled,
                ..
            })
        ));
        let (resumed, observer, ended) = train(folder.path(), None);
        ended.unwrap();
        assert_eq!(
            resumed, weights,
            "stopped when asked for the {moment}th time"
        );
        assert_eq!(observer.epochs.into_inner().unwrap(), epochs);
    }
}
