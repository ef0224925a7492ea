//! A small diffusion model of the data set's own classes as a learner: the UNet predicts the noise in an image, or its velocity,
//! from a random time and the image's class (Ho et al. 2020; Salimans and Ho 2022). For a tenth of the images it is not told
//! the class, so that edits can be guided (Ho and Salimans 2022).
//!
//! It does not classify: validation is its loss with the same noise and times for each val image in every epoch and training.

use std::path::Path;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use saga_imaging::RgbImage;
use saga_models::{
    ModelError, Runtime,
    diffusion::{
        class_conditional,
        neighbours::Neighbours,
        noise::{Noise as _, Seeded},
        scheduler::{self, Forward},
        unet::{ClassConfig, UNet2DModel},
    },
    weights::Weights,
};
use tch::{Device, Kind, Tensor};

use crate::{
    data::{Dataset, Split},
    error::TrainError,
    fit::{Judged, Learner},
    loader::Batch,
    request::{Architecture, Job},
};

/// Share of the images whose class is kept back.
const LABEL_DROPOUT: f64 = 0.1;
/// Times at which a val image is judged.
const VALIDATION_TIMES: usize = 4;
/// Channels, rows and columns of a batch of images.
const IMAGE: &[i64] = &[1, 2, 3];
/// Multiples of it in turn spread evenly over 0 to 1, however many there are.
const GOLDEN_RATIO: f64 = 0.618_033_988_749_894_9;
/// Channels of each level, over those of the finest.
const LEVELS: [i64; 3] = [1, 2, 2];
/// Groups of the normalisations; channels are multiples of it.
const GROUPS: u32 = 8;
/// An image is halved once less than there are levels.
pub const IMAGE_SIZE_UNIT: u32 = 1 << (LEVELS.len() - 1);
/// Channels of the finest level are multiples of this.
pub const CHANNELS_UNIT: u32 = GROUPS;

/// A UNet in training.
pub struct Diffusion {
    model: UNet2DModel,
    weights: Weights,
    scheduler: scheduler::Config,
    forward: Forward,
    /// Weight of the loss at each time of training; `None`: all weigh the same.
    loss_weights: Option<Tensor>,
    labels: Vec<String>,
    neighbours: Neighbours,
    device: Device,
}

impl Diffusion {
    /// A new model, or the one of `job.init_from`, for the classes of a data set.
    pub fn new(job: &Job, dataset: &Dataset, runtime: Runtime) -> Result<Self, TrainError> {
        let wanted = config(&job.architecture, dataset.classes.len());
        let (model, weights) = match &job.init_from {
            None => UNet2DModel::random(wanted, runtime, job.seed)?,
            Some(directory) => {
                let found = UNet2DModel::load_to_train(&directory.join("unet"), runtime)?;
                if *found.0.config() != wanted {
                    let why = "holds a model of another architecture or number of classes than the request's";
                    return Err(TrainError::field("init_from", why));
                }
                found
            }
        };
        let denoising = job.denoising.unwrap_or_default();
        let scheduler = scheduler::Config::from(denoising);
        Ok(Self {
            loss_weights: loss_weights(&scheduler, denoising.min_snr_gamma, runtime.device)?,
            forward: Forward::new(&scheduler, runtime.device)?,
            neighbours: neighbours(&dataset.train, dataset.side)?,
            labels: dataset.classes.clone(),
            device: runtime.device,
            model,
            weights,
            scheduler,
        })
    }

    /// Mean square error of what is predicted of each image in 0 to 1, [N].
    fn error(
        &self,
        images: &Tensor,
        classes: &Tensor,
        noise: &Tensor,
        times: &Tensor,
    ) -> Result<Tensor, TrainError> {
        let clean = images.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?;
        let noise = noise.f_to_device(self.device)?;
        let noisy = self.forward.noisy(&clean, &noise, times)?;
        let target = self.forward.target(&clean, &noise, times)?;
        let times = times.f_to_kind(Kind::Float)?;
        let predicted = self.model.forward(&noisy, &times, classes)?;
        let errors = predicted.f_mse_loss(&target, tch::Reduction::None)?;
        Ok(errors.f_mean_dim(IMAGE, false, Kind::Float)?)
    }

    fn time(&self, share: f64) -> i64 {
        (share * self.scheduler.num_train_timesteps as f64) as i64
    }

    fn on_device(&self, numbers: &[i64]) -> Result<Tensor, TrainError> {
        Ok(Tensor::f_from_slice(numbers)?.f_to_device(self.device)?)
    }
}

impl Learner for Diffusion {
    fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The diffusers directory's files, and which images it was trained on.
    fn write(&self, directory: &Path) -> Result<(), ModelError> {
        let unet = (&self.model, &self.weights);
        class_conditional::write(directory, unet, &self.scheduler, &self.labels)?;
        self.neighbours.write(directory)
    }

    fn loss(
        &mut self,
        Batch { images, labels, .. }: &Batch,
        random: &mut ChaCha8Rng,
    ) -> Result<Tensor, TrainError> {
        let none = self.model.config().null_class();
        let mut classes = Vec::<i64>::try_from(labels)?;
        for class in &mut classes {
            if random.random_bool(LABEL_DROPOUT) {
                *class = none;
            }
        }
        let times: Vec<i64> = classes.iter().map(|_| self.time(random.random())).collect();
        let noise = Seeded::new(random.random()).draw(&images.size())?;
        let (classes, times) = (self.on_device(&classes)?, self.on_device(&times)?);
        let errors = self.error(images, &classes, &noise, &times)?;
        let errors = match &self.loss_weights {
            Some(weights) => errors.f_mul(&weights.f_index_select(0, &times)?)?,
            None => errors,
        };
        Ok(errors.f_mean(Kind::Float)?)
    }

    fn validate(
        &self,
        images: &Tensor,
        labels: &Tensor,
        first: usize,
    ) -> Result<Judged, TrainError> {
        let (count, channels, height, width) = images.size4()?;
        let (count, shape) = (count as usize, [1, channels, height, width]);
        let mut loss = 0.0;
        for draw in 0..VALIDATION_TIMES {
            let numbers =
                (0..count).map(|index| ((first + index) * VALIDATION_TIMES + draw) as u64);
            let noise = numbers
                .clone()
                .map(|number| Seeded::new(number).draw(&shape));
            let noise = Tensor::f_cat(&noise.collect::<Result<Vec<_>, _>>()?, 0)?;
            let times = numbers.map(|number| self.time((number as f64 * GOLDEN_RATIO).fract()));
            let times: Vec<i64> = times.collect();
            let errors = self.error(images, labels, &noise, &self.on_device(&times)?)?;
            loss += errors.f_sum(Kind::Float)?.f_double_value(&[])? / VALIDATION_TIMES as f64;
        }
        Ok(Judged {
            loss,
            predicted: Vec::new(),
        })
    }
}

fn loss_weights(
    scheduler: &scheduler::Config,
    min_snr_gamma: f64,
    device: Device,
) -> Result<Option<Tensor>, ModelError> {
    if min_snr_gamma == 0.0 {
        return Ok(None);
    }
    let weights = scheduler.min_snr_weights(min_snr_gamma)?;
    Ok(Some(Tensor::f_from_slice(&weights)?.f_to_device(device)?))
}

fn config(sizes: &Architecture, classes: usize) -> ClassConfig {
    let channels = i64::from(sizes.hidden_size);
    ClassConfig {
        sample_size: sizes.image_size.into(),
        layers_per_block: sizes.num_hidden_layers.into(),
        attention_head_dim: channels,
        norm_num_groups: GROUPS.into(),
        num_class_embeds: classes as i64 + 1,
        ..ClassConfig::default()
    }
    .with_levels(LEVELS.map(|level| level * channels).to_vec())
}

/// The training images as the model sees them, compared with each other.
fn neighbours(train: &Split, side: u32) -> Result<Neighbours, TrainError> {
    let plane = (side * side) as usize;
    let pictures: Vec<RgbImage> = train
        .pixels
        .chunks_exact(3 * plane)
        .filter_map(|pixels| {
            let (red, rest) = pixels.split_at_checked(plane)?;
            let (green, blue) = rest.split_at_checked(plane)?;
            let colours = red.iter().zip(green).zip(blue);
            let levels = colours.flat_map(|((r, g), b)| [*r, *g, *b]).collect();
            RgbImage::from_raw(side, side, levels)
        })
        .collect();
    Ok(Neighbours::new(train.names.clone(), pictures.iter())?)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use saga_models::diffusion::neighbours::ImageName;

    use super::*;
    use crate::{
        master::MasterWeights,
        request::{self, Denoising, Head, Kind as ModelKind, Prediction, Settings},
    };

    fn job(prediction: Prediction) -> Job {
        Job {
            kind: ModelKind::Diffusion,
            seed: 3,
            architecture: Architecture {
                image_size: 8,
                patch_size: 0,
                hidden_size: 8,
                num_hidden_layers: 1,
                num_attention_heads: 0,
                intermediate_size: 0,
                head: Head::Linear,
                drop_path: 0.0,
            },
            settings: Settings {
                learning_rate: 0.01,
                ..request::tests::settings()
            },
            denoising: Some(Denoising {
                prediction,
                ..Denoising::default()
            }),
            ..request::tests::job()
        }
    }

    fn dataset() -> Dataset {
        let split = |count: usize| Split {
            pixels: (0..count * 3 * 64).map(|i| (i * 37 % 251) as u8).collect(),
            labels: (0..count as u32).map(|i| i % 2).collect(),
            synthetic: Vec::new(),
            names: (0..count)
                .map(|i| ImageName {
                    image_id: i.to_string(),
                    blake3: String::new(),
                })
                .collect(),
        };
        Dataset {
            classes: vec!["a".into(), "b".into()],
            side: 8,
            train: split(6),
            val: split(4),
        }
    }

    #[test]
    fn validation_is_the_same_each_time_and_however_it_is_batched() {
        let dataset = dataset();
        let learner = Diffusion::new(&job(Prediction::V), &dataset, Runtime::REFERENCE).unwrap();
        let judged = |chosen: &[usize]| {
            let (images, labels) =
                crate::pixels::batch(&dataset.val, 8, chosen, Device::Cpu).unwrap();
            learner.validate(&images, &labels, chosen[0]).unwrap()
        };
        let whole = judged(&[0, 1, 2, 3]).loss;
        assert_eq!(whole, judged(&[0, 1, 2, 3]).loss);
        let parts = judged(&[0, 1]).loss + judged(&[2, 3]).loss;
        assert!((whole - parts).abs() < 1e-4, "{whole} {parts}");
        assert!(judged(&[0]).predicted.is_empty());
    }

    #[test]
    fn the_loss_weighs_times_and_validation_does_not() {
        let dataset = dataset();
        let weighted = |min_snr_gamma| {
            let mut job = job(Prediction::V);
            job.denoising.as_mut().unwrap().min_snr_gamma = min_snr_gamma;
            Diffusion::new(&job, &dataset, Runtime::REFERENCE).unwrap()
        };
        let (images, labels) =
            crate::pixels::batch(&dataset.train, 8, &[0, 1, 2], Device::Cpu).unwrap();
        let batch = Batch {
            images: images.shallow_clone(),
            labels: labels.shallow_clone(),
            weights: None,
        };
        let loss = |learner: &mut Diffusion| {
            let mut random = ChaCha8Rng::seed_from_u64(1);
            let loss = learner.loss(&batch, &mut random).unwrap();
            loss.double_value(&[])
        };
        let (mut plain, mut min_snr) = (weighted(0.0), weighted(5.0));
        assert!(loss(&mut min_snr) < 0.95 * loss(&mut plain));
        plain.loss_weights = Some(Tensor::full([1000], 0.5, (Kind::Float, Device::Cpu)));
        let (halved, whole) = (loss(&mut plain), loss(&mut weighted(0.0)));
        assert!((halved - whole / 2.0).abs() < 1e-5, "{halved} {whole}");
        let judged = |learner: &Diffusion| learner.validate(&images, &labels, 0).unwrap().loss;
        assert_eq!(judged(&min_snr), judged(&weighted(0.0)));
    }

    #[test]
    fn both_predictions_are_learned_from_one_batch() {
        for prediction in [Prediction::V, Prediction::Epsilon] {
            let dataset = dataset();
            let mut learner =
                Diffusion::new(&job(prediction), &dataset, Runtime::REFERENCE).unwrap();
            let mut weights = MasterWeights::new(learner.weights().tensors()).unwrap();
            let (images, labels) =
                crate::pixels::batch(&dataset.train, 8, &[0, 1, 2, 3], Device::Cpu).unwrap();
            let batch = Batch {
                images,
                labels,
                weights: None,
            };
            // The same noise, times and dropped classes each time.
            let mut step = || {
                let mut random = ChaCha8Rng::seed_from_u64(1);
                let loss = learner.loss(&batch, &mut random).unwrap();
                loss.backward();
                let gradient = weights.take_gradient().unwrap();
                let _ = weights.flat_mut().g_add_(&(gradient * -0.05));
                weights.publish().unwrap();
                loss.double_value(&[])
            };
            let first = step();
            let last = (0..20).map(|_| step()).last().unwrap();
            assert!(last < 0.8 * first, "{prediction:?}: {first} to {last}");
        }
    }
}
