//! Batches of training images, augmented on other threads ahead of the model.
//!
//! Worker w of n makes the batches w, w + n, w + 2n ... and hands them over in a queue of its own, so that they are taken in
//! order without sorting. What a batch holds depends on the seed and its number, not on who makes it.

use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread::{Builder, Scope, available_parallelism},
    time::{Duration, Instant},
};

use tch::{Device, Tensor};

use crate::{
    augment::Augmentation,
    data::{Dataset, Split},
    error::TrainError,
    pixels,
    random::{self, Purpose},
    request::Settings,
    sampler::Sampler,
};

/// Batches that each worker may be ahead.
const AHEAD: usize = 2;
/// More workers than this starve the model of memory bandwidth.
const MOST_WORKERS: usize = 8;

/// Where batches come from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub dataset: &'a Dataset,
    pub settings: &'a Settings,
    pub seed: u64,
}

/// Images that a loss is computed of, on the model's device.
#[derive(Debug, PartialEq)]
pub struct Batch {
    /// `[N, 3, side, side]` f32 in 0 to 1.
    pub images: Tensor,
    /// Class of each, `[N]` int64.
    pub labels: Tensor,
    /// What each counts, `[N, 1]` f32; `None` where all count the same.
    pub weights: Option<Tensor>,
}

/// The same in memory of the CPU.
#[derive(Debug)]
struct Drawn {
    images: Vec<f32>,
    labels: Vec<i64>,
    weights: Vec<f32>,
}

/// Hands out batches in order; its workers end when it is dropped.
#[derive(Debug)]
pub struct Loader {
    workers: Vec<Receiver<Drawn>>,
    next: usize,
    side: i64,
    /// Whether some images count less than others.
    weighted: bool,
    waited: Duration,
}

impl Loader {
    /// Starts workers at batch number `first`: one for every second core.
    pub fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        source: Source<'env>,
        first: u64,
    ) -> Result<Self, TrainError> {
        let cores = available_parallelism().map_or(1, usize::from);
        Self::with_workers(scope, source, first, (cores / 2).clamp(1, MOST_WORKERS))
    }

    fn with_workers<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        source: Source<'env>,
        first: u64,
        count: usize,
    ) -> Result<Self, TrainError> {
        let start = |worker: usize| {
            let (sender, batches) = sync_channel(AHEAD);
            let work = move || {
                let numbers = (first + worker as u64..).step_by(count);
                for batch in source.batches(numbers) {
                    if sender.send(batch).is_err() {
                        break;
                    }
                }
            };
            let thread = Builder::new().name(format!("loader-{worker}"));
            thread
                .spawn_scoped(scope, work)
                .map_err(|error| TrainError::Thread(error.to_string()))?;
            Ok(batches)
        };
        Ok(Self {
            workers: (0..count).map(start).collect::<Result<_, TrainError>>()?,
            next: 0,
            side: i64::from(source.dataset.side),
            weighted: source.settings.synthetic_weight < 1.0,
            waited: Duration::ZERO,
        })
    }

    /// The next batch on a device.
    pub fn next(&mut self, device: Device) -> Result<Batch, TrainError> {
        let asked = Instant::now();
        let batch = self.workers.get(self.next).map(Receiver::recv);
        let Some(Ok(drawn)) = batch else {
            return Err(TrainError::Thread(
                "a thread that augments images ended".into(),
            ));
        };
        self.waited += asked.elapsed();
        self.next = (self.next + 1) % self.workers.len();
        let count = drawn.labels.len() as i64;
        let images =
            Tensor::f_from_slice(&drawn.images)?.f_view([count, 3, self.side, self.side])?;
        let weights = self.weighted.then(|| {
            let weights = Tensor::f_from_slice(&drawn.weights)?.f_view([count, 1])?;
            weights.f_to_device(device)
        });
        Ok(Batch {
            images: images.f_to_device(device)?,
            labels: Tensor::f_from_slice(&drawn.labels)?.f_to_device(device)?,
            weights: weights.transpose()?,
        })
    }

    /// How long the model waited for batches since this was last asked.
    pub fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }
}

impl<'a> Source<'a> {
    /// The batches of these numbers, which rise.
    fn batches(self, numbers: impl Iterator<Item = u64>) -> impl Iterator<Item = Drawn> {
        let settings = self.settings;
        let train = &self.dataset.train;
        let mut sampler = Sampler::new(
            &train.labels,
            settings.sampling,
            settings.oversampling_limit,
            self.seed,
        );
        let augmentation = Augmentation::of(settings);
        let mut drawn = 0;
        numbers.map(move |number| {
            let size = settings.batch_size as usize;
            for _ in drawn..number {
                sampler.by_ref().take(size).for_each(drop);
            }
            drawn = number + 1;
            let chosen: Vec<usize> = sampler.by_ref().take(size).collect();
            self.batch(train, &chosen, number, &augmentation)
        })
    }

    fn batch(
        &self,
        train: &Split,
        chosen: &[usize],
        number: u64,
        augmentation: &Augmentation,
    ) -> Drawn {
        let side = self.dataset.side as usize;
        let size = 3 * side * side;
        let mut random = random::of_batch(self.seed, number, Purpose::Augmentation);
        let mut images = vec![0.0; chosen.len() * size];
        let mut labels = Vec::with_capacity(chosen.len());
        let weight = |&index: &usize| train.weight(index, self.settings.synthetic_weight) as f32;
        for (&index, image) in chosen.iter().zip(images.chunks_exact_mut(size)) {
            augmentation.apply(pixels::of(train, index, size), side, &mut random, image);
            labels.extend(train.labels.get(index).map(|&label| i64::from(label)));
        }
        Drawn {
            images,
            labels,
            weights: chosen.iter().map(weight).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{request, sampler::Sampling};

    fn dataset() -> Dataset {
        let labels: Vec<u32> = (0..10).map(|index| index % 3).collect();
        let split = || Split {
            pixels: (0..10 * 3 * 64)
                .map(|byte| (byte * 7 % 251) as u8)
                .collect(),
            labels: labels.clone(),
            synthetic: (0..10).map(|index| index % 2 == 1).collect(),
            names: Vec::new(),
        };
        Dataset {
            classes: ["a", "b", "c"].map(String::from).to_vec(),
            side: 8,
            train: split(),
            val: split(),
        }
    }

    fn taken(synthetic_weight: f64, workers: usize, first: u64, count: usize) -> Vec<Batch> {
        let settings = request::Settings {
            batch_size: 4,
            augment: true,
            sampling: Sampling::Balanced,
            synthetic_weight,
            ..request::tests::settings()
        };
        let dataset = dataset();
        let source = Source {
            dataset: &dataset,
            settings: &settings,
            seed: 3,
        };
        std::thread::scope(|scope| {
            let mut loader = Loader::with_workers(scope, source, first, workers).unwrap();
            let batches = (0..count).map(|_| loader.next(Device::Cpu).unwrap());
            batches.collect()
        })
    }

    #[test]
    fn batches_are_the_same_on_any_number_of_threads_and_from_any_start() {
        let alone = taken(0.5, 1, 0, 9);
        assert_eq!(alone, taken(0.5, 3, 0, 9));
        assert_eq!(alone[5..], taken(0.5, 2, 5, 4));
        assert_ne!(alone[0], alone[1]);
        assert_eq!(alone[0].images.size(), [4, 3, 8, 8]);
    }

    #[test]
    fn a_limit_of_repetition_is_the_sampler_s() {
        let mut dataset = dataset();
        dataset.train.labels = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let scarce = |oversampling_limit| {
            let settings = request::Settings {
                batch_size: 10,
                sampling: Sampling::Balanced,
                oversampling_limit,
                ..request::tests::settings()
            };
            let source = Source {
                dataset: &dataset,
                settings: &settings,
                seed: 3,
            };
            std::thread::scope(|scope| {
                let mut loader = Loader::with_workers(scope, source, 0, 1).unwrap();
                let labels = loader.next(Device::Cpu).unwrap().labels;
                labels.sum(tch::Kind::Int64).int64_value(&[])
            })
        };
        assert_eq!(
            [0, 2].map(scarce),
            [5, 2],
            "of one image in an epoch of ten"
        );
    }

    #[test]
    fn synthetic_images_bring_their_weight_and_change_nothing_else() {
        let (weighted, plain) = (taken(0.5, 1, 0, 9), taken(1.0, 1, 0, 9));
        let mut weights = Vec::new();
        for (weighted, plain) in weighted.iter().zip(&plain) {
            assert_eq!(
                (&weighted.images, &weighted.labels),
                (&plain.images, &plain.labels)
            );
            assert!(plain.weights.is_none());
            let tensor = weighted.weights.as_ref().unwrap();
            assert_eq!(tensor.size(), [4, 1]);
            weights.extend(Vec::<f32>::try_from(tensor.view([-1])).unwrap());
        }
        assert!(weights.contains(&0.5) && weights.contains(&1.0));
    }
}
