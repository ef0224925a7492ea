//! The loop with a model of one weight, whose scores and losses are told: when it stops, what it keeps, where it diverges.

use std::{cell::RefCell, path::Path};

use rand_chacha::ChaCha8Rng;
use saga_models::{ModelError, weights::Weights};
use tch::{Device, Kind};

use super::*;
use crate::{
    loader::Batch,
    request,
    split::{Dataset, Split},
};

/// Of the val split.
const LABELS: [u32; 4] = [0, 1, 0, 1];

/// What each epoch predicts, none of a model that does not classify, and its loss on the val split.
type Script = [(&'static [u32], f64)];

struct Scripted {
    weight: Tensor,
    unused: Weights,
    script: &'static Script,
    /// The weight as it was validated in each epoch.
    validated: RefCell<Vec<f64>>,
    /// Step whose loss is not a number, from 1; 0: none.
    diverges_at: u32,
    steps: u32,
}

impl Learner for Scripted {
    fn weights(&self) -> &Weights {
        &self.unused
    }

    fn write(&self, _: &Path) -> Result<(), ModelError> {
        unreachable!("nothing is written here")
    }

    fn loss(&mut self, _: &Batch, _: &mut ChaCha8Rng) -> Result<Tensor, TrainError> {
        self.steps += 1;
        let scale = if self.steps == self.diverges_at {
            f64::NAN
        } else {
            1.0
        };
        Ok(self.weight.sum(Kind::Float) * scale)
    }

    fn validate(&self, _: &Tensor, labels: &Tensor, _: usize) -> Result<Judged, TrainError> {
        let mut validated = self.validated.borrow_mut();
        let (predicted, loss) = self.script[validated.len()];
        validated.push(self.weight.double_value(&[0]));
        Ok(Judged {
            loss: loss * labels.numel() as f64,
            predicted: predicted.to_vec(),
        })
    }
}

struct Silent;

impl Observer for Silent {
    fn epoch(&self, _: &Epoch) {}

    fn cancelled(&self) -> bool {
        false
    }
}

/// One step an epoch, as many as the script has: how it ended, and the model.
fn trained(script: &'static Script, diverges_at: u32) -> (Result<Best, Stopped>, Scripted) {
    let split = || Split {
        pixels: vec![0; 4 * 3 * 8 * 8],
        labels: LABELS.to_vec(),
        ..Default::default()
    };
    let dataset = Dataset {
        classes: vec!["a".into(), "b".into()],
        side: 8,
        train: split(),
        val: split(),
    };
    let settings = Settings {
        length: Length::Steps(script.len() as u32),
        batch_size: 4,
        patience: 2,
        ..request::tests::settings()
    };
    let weight = Tensor::ones([1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let named = [("classifier.bias".to_owned(), weight.shallow_clone())];
    let mut model = Scripted {
        weight,
        unused: Weights::random(Device::Cpu, 1),
        script,
        validated: RefCell::default(),
        diverges_at,
        steps: 0,
    };
    let source = Source {
        dataset: &dataset,
        settings: &settings,
        seed: 1,
    };
    let weights = MasterWeights::new(named.into()).unwrap();
    let ended = fit(&mut model, weights, source, None, &Silent);
    (ended, model)
}

/// The epoch that is kept, after how many it stopped, and whether the model has the kept epoch's weights and no other's.
fn kept(script: &'static Script) -> (u32, usize) {
    let (ended, model) = trained(script, 0);
    let best = ended.unwrap().epoch;
    let (weight, validated) = (
        model.weight.double_value(&[0]),
        model.validated.into_inner(),
    );
    for (epoch, earlier) in (1..).zip(&validated) {
        assert_eq!(weight == *earlier, epoch == best, "{validated:?}");
    }
    (best, validated.len())
}

#[test]
fn patience_waits_for_a_better_macro_f1_and_ties_are_broken_by_loss() {
    let ended = kept(&[
        (&[0, 0, 0, 0], 4.0),
        (&[0, 1, 0, 0], 4.0),
        // No better, although the loss is: it is kept, and patience runs out one epoch later.
        (&[0, 1, 0, 0], 2.0),
        (&[0, 1, 0, 0], 3.0),
        // Would be better, and is not trained.
        (&[0, 1, 0, 1], 1.0),
    ]);
    assert_eq!(ended, (3, 4));
}

#[test]
fn a_gain_before_patience_is_out_starts_it_anew() {
    let ended = kept(&[
        (&[0, 0, 0, 0], 4.0),
        (&[0, 0, 0, 0], 5.0),
        (&[0, 1, 0, 0], 9.0),
        (&[0, 1, 0, 0], 9.5),
        (&[0, 0, 0, 0], 1.0),
        (&[0, 1, 0, 1], 1.0),
    ]);
    assert_eq!(ended, (3, 5));
}

#[test]
fn a_loss_that_is_no_number_names_its_step_and_leaves_the_best_epoch_before_it() {
    let script: &Script = &[
        (&[0, 0, 0, 0], 4.0),
        (&[0, 1, 0, 0], 4.0),
        (&[0, 0, 0, 0], 4.0),
        (&[0, 1, 0, 1], 1.0),
    ];
    let (ended, model) = trained(script, 4);
    let stopped = ended.unwrap_err();
    assert!(matches!(
        stopped.error,
        TrainError::Diverged { step: 4, .. }
    ));
    let said = stopped.error.to_string();
    assert!(
        said.starts_with("the loss is not finite at step 4; lower"),
        "{said}"
    );
    assert_eq!(stopped.best.unwrap().epoch, 2);
    assert_eq!(
        model.weight.double_value(&[0]),
        model.validated.into_inner()[1]
    );
}

#[test]
fn a_model_that_does_not_classify_is_waited_for_by_its_loss() {
    let ended = kept(&[
        (&[], 4.0),
        (&[], 3.0),
        (&[], 3.5),
        (&[], 2.0),
        (&[], 2.0),
        (&[], 2.5),
        (&[], 1.0),
    ]);
    assert_eq!(ended, (4, 6));
}
