//! A classifier as a learner: soft targets with label smoothing, MixUp and CutMix, under one of three losses, whose classes may
//! be weighted from the start or (deferred re-weighting, as LDAM's paper does) from a later step on. Synthetic images may count
//! less than real ones: empirical risk weighted by where data comes from (Jain et al. 2024, <https://arxiv.org/abs/2402.04376>).

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use saga_models::{ModelError, Runtime, golden, preprocess, weights::Weights};
use tch::Tensor;

use crate::{
    data::Dataset,
    error::TrainError,
    fit::{Judged, Learner},
    loader::Batch,
    loss::{self, Weighting},
    mix::mix,
    network::Network,
    pixels::Normaliser,
    request::{Job, Loss, Settings},
    stages::Stage,
};

/// A classifier in training.
pub struct Classifier {
    network: Network,
    normaliser: Normaliser,
    preprocessing: preprocess::Config,
    settings: Settings,
    classes: i64,
    class_weights: Option<Tensor>,
    /// Added to the logits in training.
    logit_adjustment: Option<Tensor>,
    /// Of LDAM.
    margins: Option<Tensor>,
    /// How much of the training is done.
    progress: f64,
    stage: Stage,
}

impl Classifier {
    /// A new model, or the one of `job.init_from`, for the classes of a data set whose images were prepared like this.
    pub fn new(
        job: &Job,
        dataset: &Dataset,
        preprocessing: preprocess::Config,
        runtime: Runtime,
    ) -> Result<Self, TrainError> {
        let classes = dataset.classes.len();
        let weight = job.settings.synthetic_weight;
        let counts = dataset.train.class_totals(classes, weight);
        let tensor = |values: Vec<f32>| Tensor::f_from_slice(&values)?.f_to_device(runtime.device);
        let weighted = job.settings.class_weights;
        let class_weights = weighted.then(|| tensor(loss::inverse_frequency(&counts)));
        let margins = match job.settings.loss {
            Loss::Ldam { margin } => Some(tensor(loss::ldam_margins(&counts, margin))),
            Loss::CrossEntropy | Loss::Focal { .. } => None,
        };
        let tau = job.settings.logit_adjustment;
        let adjusted = (tau > 0.0).then(|| tensor(loss::logit_adjustment(&counts, tau)));
        Ok(Self {
            network: Network::new(job, &dataset.classes, runtime)?,
            normaliser: Normaliser::new(&preprocessing, runtime.device)?,
            preprocessing,
            settings: job.settings.clone(),
            classes: classes as i64,
            class_weights: class_weights.transpose()?,
            logit_adjustment: adjusted.transpose()?,
            margins: margins.transpose()?,
            progress: 0.0,
            stage: Stage::All,
        })
    }
}

impl Learner for Classifier {
    fn weights(&self) -> &Weights {
        self.network.weights()
    }

    /// The Hugging Face directory's files and golden answers.
    fn write(&self, directory: &Path) -> Result<(), ModelError> {
        self.network.write(directory, &self.preprocessing)?;
        golden::record(directory)
    }

    fn begin_step(&mut self, progress: f64, stage: Stage) {
        (self.progress, self.stage) = (progress, stage);
    }

    fn loss(&mut self, batch: &Batch, random: &mut ChaCha8Rng) -> Result<Tensor, TrainError> {
        let settings = &self.settings;
        let class_weights = self.class_weights.as_ref();
        let class_weights = class_weights.filter(|_| self.progress >= settings.class_weights_from);
        let adjustment = self.logit_adjustment.as_ref();
        let device = batch.labels.device();
        let spread = loss::even_spread(self.classes, adjustment, class_weights, device)?;
        let smoothing = settings.label_smoothing;
        let mut targets = loss::smooth_targets(&batch.labels, &spread, smoothing)?;
        if let Some(weights) = &batch.weights {
            // One more column of the targets, so that they are blended as their images are.
            targets = Tensor::f_cat(&[&targets, weights], 1)?;
        }
        let pixels = self.normaliser.normalise(&batch.images)?;
        let (pixels, mixed) = mix(pixels, targets, (settings.mixup, settings.cutmix), random)?;
        let targets = mixed.f_narrow(1, 0, self.classes)?;
        let images = batch.weights.as_ref();
        let images = images.map(|_| mixed.f_narrow(1, self.classes, 1));
        let images = images.transpose()?;
        let mut logits = self.network.train(&pixels, self.stage)?;
        if let Some(adjustment) = adjustment {
            logits = logits.f_add(adjustment)?;
        }
        let weighting = Weighting {
            classes: class_weights,
            images: images.as_ref(),
        };
        match (settings.loss, &self.margins) {
            (Loss::Focal { gamma }, _) => loss::focal(&logits, &targets, gamma, weighting),
            (Loss::Ldam { .. }, Some(margins)) => loss::ldam(&logits, &targets, margins, weighting),
            _ => loss::cross_entropy(&logits, &targets, weighting),
        }
    }

    fn validate(&self, images: &Tensor, labels: &Tensor, _: usize) -> Result<Judged, TrainError> {
        let logits = self.network.logits(&self.normaliser.normalise(images)?)?;
        Judged::of_logits(&logits, labels)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use tch::{Device, Kind as Element};

    use super::*;
    use crate::{
        master::MasterWeights,
        request::{self, Kind},
        split::Split,
    };

    fn classifier(mixup: f64) -> Classifier {
        let settings = Settings {
            mixup,
            ..request::tests::settings()
        };
        made(
            Job {
                settings,
                ..request::tests::job()
            },
            &[0, 1],
            Runtime::REFERENCE,
        )
    }

    /// Of train images with these labels.
    fn made(job: Job, labels: &[u32], runtime: Runtime) -> Classifier {
        let dataset = Dataset {
            classes: vec!["a".into(), "b".into()],
            side: 32,
            train: Split {
                labels: labels.to_vec(),
                ..Default::default()
            },
            val: Split::default(),
        };
        Classifier::new(&job, &dataset, preprocess::Config::vit(32), runtime).unwrap()
    }

    /// Of three images of the first class and one of the second.
    fn of_a_tail(change: impl FnOnce(&mut Settings)) -> Classifier {
        let mut job = request::tests::job();
        change(&mut job.settings);
        made(job, &[0, 0, 0, 1], Runtime::REFERENCE)
    }

    /// What libtorch makes of the network's own logits, raised by so much, with these weights of the classes.
    fn expected(model: &Classifier, images: &Tensor, raised: [f32; 2], weights: [f32; 2]) -> f64 {
        let pixels = model.normaliser.normalise(images).unwrap();
        let logits =
            model.network.train(&pixels, Stage::All).unwrap() + Tensor::from_slice(&raised);
        let (labels, weights) = (Tensor::from_slice(&[0i64, 1]), Tensor::from_slice(&weights));
        let loss =
            logits.cross_entropy_loss(&labels, Some(weights), tch::Reduction::Mean, -100, 0.0);
        loss.double_value(&[])
    }

    #[test]
    fn class_weights_count_from_their_share_of_the_training_on() {
        let mut model = of_a_tail(|settings| {
            (settings.class_weights, settings.class_weights_from) = (true, 0.5);
        });
        let images = pictures(2);
        let plain = expected(&model, &images, [0.0; 2], [1.0; 2]);
        let weighted = expected(&model, &images, [0.0; 2], [4.0 / 6.0, 2.0]);
        assert!((plain - weighted).abs() > 1e-2, "{plain} {weighted}");
        for (progress, expected) in [
            (0.0, plain),
            (0.49, plain),
            (0.5, weighted),
            (1.0, weighted),
        ] {
            model.begin_step(progress, Stage::All);
            let loss = loss(&mut model, &images, &[0, 1], &[1.0, 1.0]);
            assert!((loss - expected).abs() < 1e-5, "{loss} at {progress}");
        }
    }

    #[test]
    fn logits_are_raised_by_their_class_s_share_in_training_alone() {
        let mut model = of_a_tail(|settings| settings.logit_adjustment = 2.0);
        let images = pictures(2);
        let raised = [0.75f32, 0.25].map(|share| 2.0 * share.ln());
        let adjusted = expected(&model, &images, raised, [1.0; 2]);
        let plain = expected(&model, &images, [0.0; 2], [1.0; 2]);
        assert!((plain - adjusted).abs() > 1e-2, "{plain} {adjusted}");
        let trained = loss(&mut model, &images, &[0, 1], &[1.0, 1.0]);
        assert!((trained - adjusted).abs() < 1e-5, "{trained}");
        let labels = Tensor::from_slice(&[0i64, 1]);
        let judged = model.validate(&images, &labels, 0).unwrap().loss / 2.0;
        assert!((judged - plain).abs() < 1e-5, "{judged}");
    }

    #[test]
    fn both_networks_learn_a_batch_in_bf16() {
        let bf16 = Runtime {
            precision: saga_models::Precision::Bf16,
            ..Runtime::REFERENCE
        };
        for kind in [Kind::VitClassifier, Kind::ResnetClassifier] {
            let mut job = request::tests::job();
            job.kind = kind;
            if kind == Kind::ResnetClassifier {
                (
                    job.architecture.num_hidden_layers,
                    job.architecture.hidden_size,
                ) = (18, 64);
            }
            let mut reference = made(job.clone(), &[0, 1], Runtime::REFERENCE);
            let mut model = made(job, &[0, 1], bf16);
            let mut weights = MasterWeights::new(model.weights().tensors()).unwrap();
            let images = pictures(4);
            let mut step = || {
                let before = loss_of(&mut model, &images, &[0, 1, 0, 1], &[1.0; 4]);
                before.backward();
                let gradient = weights.take_gradient().unwrap();
                let _ = weights.flat_mut().g_add_(&(gradient * -0.05));
                weights.publish().unwrap();
                before.double_value(&[])
            };
            let first = step();
            let in_f32 = loss(&mut reference, &images, &[0, 1, 0, 1], &[1.0; 4]);
            assert_ne!(first, in_f32, "{kind:?} rounds");
            let last = (0..30).map(|_| step()).last().unwrap();
            assert!(last < 0.7 * first, "{kind:?}: {first} to {last}");
        }
    }

    fn pictures(count: i64) -> Tensor {
        let values = Tensor::arange(count * 3 * 32 * 32, (Element::Float, Device::Cpu));
        (values.remainder(251.0) / 250.0).view([count, 3, 32, 32])
    }

    fn loss(model: &mut Classifier, images: &Tensor, labels: &[i64], weights: &[f32]) -> f64 {
        loss_of(model, images, labels, weights).double_value(&[])
    }

    fn loss_of(model: &mut Classifier, images: &Tensor, labels: &[i64], weights: &[f32]) -> Tensor {
        let batch = Batch {
            images: images.shallow_clone(),
            labels: Tensor::from_slice(labels),
            weights: Some(Tensor::from_slice(weights).view([-1, 1])),
        };
        let mut random = ChaCha8Rng::seed_from_u64(1);
        model.loss(&batch, &mut random).unwrap()
    }

    #[test]
    fn an_image_of_weight_a_quarter_counts_a_quarter() {
        let mut model = classifier(0.0);
        let images = pictures(2);
        let both = loss(&mut model, &images, &[0, 1], &[1.0, 0.25]);
        let real = loss(&mut model, &images.narrow(0, 0, 1), &[0], &[1.0]);
        let synthetic = loss(&mut model, &images.narrow(0, 1, 1), &[1], &[0.25]);
        assert!((both - (real + 0.25 * synthetic) / 1.25).abs() < 1e-5);
        assert!((real - synthetic).abs() > 1e-3);
    }

    /// Of one picture under two labels every blend is that picture, with targets and weights (s, 1 - s) of the two.
    #[test]
    fn blended_images_count_the_blend_of_their_weights() {
        let mut model = classifier(0.4);
        let picture = pictures(1);
        let twice = Tensor::cat(&[&picture, &picture], 0);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let share = mix(
            twice.copy(),
            Tensor::eye(2, (Element::Float, Device::Cpu)),
            (0.4, 0.0),
            &mut random,
        );
        let share = share.unwrap().1.double_value(&[0, 0]);
        let blended = loss(&mut model, &twice, &[0, 1], &[1.0, 0.25]);
        let [of_a, of_b] = [0, 1].map(|label| loss(&mut model, &picture, &[label], &[1.0]));
        let weights = [share + 0.25 * (1.0 - share), 0.25 * share + 1.0 - share];
        let blends = [
            share * of_a + (1.0 - share) * of_b,
            share * of_b + (1.0 - share) * of_a,
        ];
        let expected = (weights[0] * blends[0] + weights[1] * blends[1]) / 1.25;
        assert!(
            (blended - expected).abs() < 1e-5,
            "{blended}, not {expected}"
        );
        assert!((blended - (of_a + of_b) / 2.0).abs() > 1e-4);
    }
}
