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

/// Loss and norm of the first step, and AdamW's first moment after it, which is a share of the gradient.
fn first_step(batch_size: u32, accumulation: u32) -> (f64, f64, Tensor) {
    let dataset = dataset();
    let job = Job {
        settings: Settings {
            batch_size,
            accumulation,
            ..request::tests::settings()
        },
        ..request::tests::job()
    };
    let images = Config::vit(32);
    let mut model = Classifier::new(&job, &dataset, images, Runtime::REFERENCE).unwrap();
    let weights = MasterWeights::new(model.weights().tensors()).unwrap();
    let source = Source {
        dataset: &dataset,
        settings: &job.settings,
        seed: 3,
    };
    let mut training = Loop::new(weights, source).unwrap();
    let (loss, norm) = std::thread::scope(|scope| {
        let mut loader = Loader::start(scope, source, 0).unwrap();
        training.one_step(&mut model, &mut loader).unwrap()
    });
    (loss, norm, training.optimiser.moments().0.copy())
}

#[test]
fn batches_that_make_one_step_together_are_one_batch_of_all_their_images() {
    let (loss, norm, gradient) = first_step(8, 1);
    let (loss_of_parts, norm_of_parts, of_parts) = first_step(2, 4);
    assert!(
        (loss - loss_of_parts).abs() < 1e-5,
        "{loss} {loss_of_parts}"
    );
    assert!(
        (norm - norm_of_parts).abs() < 1e-4 * norm,
        "{norm} {norm_of_parts}"
    );
    let difference = |other: &Tensor| (&gradient - other).norm().double_value(&[]);
    let size = gradient.norm().double_value(&[]);
    assert!(difference(&of_parts) < 1e-4 * size);
    let (_, _, of_one) = first_step(2, 1);
    assert!(
        difference(&of_one) > 1e-2 * size,
        "a part of them is another gradient"
    );
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
