//! From pictures to bytes in the cache, and from there to a model's pixel values, exactly as serving does it.

use std::sync::Arc;

use saga_models::{
    ModelError,
    preprocess::{Config, Preprocessor},
};
use tch::{Device, Kind, Tensor};

use crate::{
    data::{Prepare, Split},
    error::TrainError,
};

/// The geometric half of preprocessing: resized and cropped, CHW bytes.
pub fn prepare(config: Config) -> Result<Prepare, TrainError> {
    let preprocessor = Preprocessor::new(config)?;
    Ok(Arc::new(move |picture| {
        let resized = preprocessor.resize_and_crop(picture);
        let bytes = resized.as_raw();
        (0..3)
            .flat_map(|channel| bytes.iter().skip(channel).step_by(3).copied())
            .collect()
    }))
}

/// The bytes of one image of a split, of which each has `size`; none where there is no such image.
pub fn of(split: &Split, index: usize, size: usize) -> &[u8] {
    let range = index * size..(index + 1) * size;
    split.pixels.get(range).unwrap_or_default()
}

/// Chosen images `[N, 3, side, side]` f32 in 0 to 1 and labels `[N]` int64.
pub fn batch(
    split: &Split,
    side: u32,
    chosen: &[usize],
    device: Device,
) -> Result<(Tensor, Tensor), TrainError> {
    let size = 3 * (side as usize).pow(2);
    let mut bytes = Vec::with_capacity(chosen.len() * size);
    let mut labels = Vec::with_capacity(chosen.len());
    for &index in chosen {
        bytes.extend_from_slice(of(split, index, size));
        labels.extend(split.labels.get(index).map(|&label| i64::from(label)));
    }
    let shape = [chosen.len() as i64, 3, i64::from(side), i64::from(side)];
    let images = Tensor::f_from_slice(&bytes)?
        .f_view(shape)?
        .f_to_device(device)?;
    let images = images.f_to_kind(Kind::Float)?.f_mul_scalar(1.0 / 255.0)?;
    Ok((images, Tensor::f_from_slice(&labels)?.f_to_device(device)?))
}

/// Mean and standard deviation that take values of 0 to 1 where a preprocessor_config.json, by rescaling and normalising or not,
/// takes their bytes.
///
/// # Errors
/// [`ModelError::Config`] for fewer than three numbers each, or a factor that leaves nothing of the bytes.
pub fn statistics(config: &Config) -> Result<([f32; 3], [f32; 3]), ModelError> {
    let (key, factor) = ("rescale_factor", config.rescale_factor);
    let white = if config.do_rescale {
        factor * 255.0
    } else {
        255.0
    };
    if !white.is_normal() {
        let why = format!("is {factor}; use a number that is not 0, such as 1/255");
        return Err(ModelError::Config { key, why });
    }
    let scaled = |values: &[f32]| match *values {
        [red, green, blue, ..] => {
            Ok([red, green, blue].map(|value| (f64::from(value) / white) as f32))
        }
        _ => Err(ModelError::Config {
            key: "image_mean",
            why: "and image_std need three numbers each".into(),
        }),
    };
    if config.do_normalize {
        Ok((scaled(&config.image_mean)?, scaled(&config.image_std)?))
    } else {
        Ok((scaled(&[0.0; 3])?, scaled(&[1.0; 3])?))
    }
}

/// The numeric half: values of 0 to 1 less the mean, over the standard deviation.
pub struct Normaliser {
    mean: Tensor,
    deviation: Tensor,
}

impl Normaliser {
    /// The [`statistics`] of a preprocessor_config.json.
    pub fn new(config: &Config, device: Device) -> Result<Self, TrainError> {
        let channels = |values: [f32; 3]| {
            Tensor::f_from_slice(&values)?
                .f_view([1, 3, 1, 1])?
                .f_to_device(device)
        };
        let (mean, deviation) = statistics(config)?;
        Ok(Self {
            mean: channels(mean)?,
            deviation: channels(deviation)?,
        })
    }

    /// `[N, 3, H, W]` f32 in 0 to 1 to pixel values of the same shape.
    pub fn normalise(&self, images: &Tensor) -> Result<Tensor, TrainError> {
        Ok(images.f_sub(&self.mean)?.f_div(&self.deviation)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_imaging::RgbImage;

    #[test]
    fn customary_statistics_are_taken_as_they_are() {
        let clip = Config::clip(16);
        let (mean, deviation) = statistics(&clip).unwrap();
        assert_eq!(
            (mean.to_vec(), deviation.to_vec()),
            (clip.image_mean, clip.image_std)
        );
    }

    #[test]
    fn the_cache_loses_nothing_of_what_serving_computes() {
        for config in [Config::vit(16), Config::clip(16)] {
            let picture = RgbImage::from_fn(40, 30, |x, y| {
                image::Rgb([(x * 6) as u8, (y * 8) as u8, (x * y) as u8])
            });
            let served = Preprocessor::new(config.clone())
                .unwrap()
                .pixel_values(&picture);
            let bytes = prepare(config.clone()).unwrap()(&picture);
            let images = Tensor::from_slice(&bytes)
                .view([1, 3, 16, 16])
                .to_kind(Kind::Float)
                / 255.0;
            let trained = Normaliser::new(&config, Device::Cpu)
                .unwrap()
                .normalise(&images)
                .unwrap();
            let difference = (trained.view([-1]) - Tensor::from_slice(&served))
                .abs()
                .max()
                .double_value(&[]);
            assert!(difference < 1e-5, "{difference}");
        }
    }
}
