//! Pictures to pixel values, obeying a checkpoint's preprocessor_config.json as transformers' `ViTImageProcessor`
//! and `CLIPImageProcessor` do: resize, centre crop, rescale, normalise.

mod geometry;

use crate::directory;
use crate::error::{ModelError, Result};
use geometry::{Resize, half_margin};
use saga_imaging::{Filter, Part, RgbImage, resize_part};
use serde::{Deserialize, Serialize};
use std::path::Path;
use tch::Tensor;

/// preprocessor_config.json; absent keys take the defaults of `ViTImageProcessor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    #[serde(alias = "feature_extractor_type")]
    pub image_processor_type: String,
    pub do_resize: bool,
    pub size: Size,
    /// Pillow's number: 1 Lanczos, 2 bilinear, 3 bicubic.
    pub resample: u8,
    #[serde(skip_serializing_if = "is_false")]
    pub do_center_crop: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_size: Option<Size>,
    /// Of `ConvNextImageProcessor`, which ResNets use: below 384 pixels, the share of the resized side that a centre crop keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_pct: Option<f64>,
    /// Where the centre lies between two pixels; an addition to transformers' keys.
    #[serde(skip_serializing_if = "is_default")]
    pub center_crop_rounding: CropRounding,
    pub do_rescale: bool,
    pub rescale_factor: f64,
    pub do_normalize: bool,
    pub image_mean: Vec<f32>,
    pub image_std: Vec<f32>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How half a pixel of margin is rounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CropRounding {
    /// Transformers.
    #[default]
    Down,
    /// torchvision, timm, open_clip.
    HalfToEven,
}

/// A target size as Hugging Face writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    Exact {
        height: u32,
        width: u32,
    },
    ShortestEdge {
        shortest_edge: u32,
    },
    /// Of old checkpoints: the shortest edge where a centre crop follows, else both sides.
    Side(u32),
}

impl Default for Config {
    fn default() -> Self {
        Self::vit(224)
    }
}

impl Config {
    /// What a ViT classifier of `side` pixels is trained with: squash, bilinear, mean and deviation 0.5.
    pub fn vit(side: u32) -> Self {
        Self {
            image_processor_type: "ViTImageProcessor".into(),
            do_resize: true,
            size: Size::Exact {
                height: side,
                width: side,
            },
            resample: 2,
            do_center_crop: false,
            crop_size: None,
            crop_pct: None,
            center_crop_rounding: CropRounding::Down,
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            image_mean: vec![0.5; 3],
            image_std: vec![0.5; 3],
        }
    }

    /// What CLIP of `side` pixels takes: shortest edge, bicubic, centre crop, CLIP's own mean and deviation.
    pub fn clip(side: u32) -> Self {
        Self {
            image_processor_type: "CLIPImageProcessor".into(),
            size: Size::ShortestEdge {
                shortest_edge: side,
            },
            resample: 3,
            do_center_crop: true,
            crop_size: Some(Size::Exact {
                height: side,
                width: side,
            }),
            image_mean: vec![0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: vec![0.268_629_54, 0.261_302_6, 0.275_777_1],
            ..Self::vit(side)
        }
    }

    /// Writes preprocessor_config.json into a model directory.
    pub fn write(&self, dir: &Path) -> Result<()> {
        directory::write_json(&dir.join(directory::PREPROCESSOR), self)
    }
}

/// Turns decoded pictures into pixel values, channels first.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    config: Config,
    filter: Filter,
    resize: Resize,
    /// Height and width of what comes out.
    output: (u32, u32),
    /// The pixel value of each byte, a channel a table.
    tables: [[f32; 256]; 3],
}

impl Preprocessor {
    /// # Errors
    /// [`ModelError::Config`] for an interpolation, size or statistics this cannot follow exactly.
    pub fn new(config: Config) -> Result<Self> {
        let filter = filter(config.resample)?;
        let (resize, output) = Resize::and_output(&config)?;
        let tables = [table(&config, 0)?, table(&config, 1)?, table(&config, 2)?];
        Ok(Self {
            config,
            filter,
            resize,
            output,
            tables,
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Height and width that the model receives.
    pub fn output_size(&self) -> (u32, u32) {
        self.output
    }

    /// Pixel values of one picture: `3 * height * width` numbers, channels first.
    pub fn pixel_values(&self, picture: &RgbImage) -> Vec<f32> {
        self.normalise(&self.resize_and_crop(picture))
    }

    /// The geometric half: 8-bit, of [`Self::output_size`].
    pub fn resize_and_crop(&self, picture: &RgbImage) -> RgbImage {
        let (height, width) = self.resize.size(picture);
        let (crop_height, crop_width) = self.output;
        let half = |margin| half_margin(self.config.center_crop_rounding, margin);
        let crop = Part {
            left: half(width - crop_width),
            top: half(height - crop_height),
            width: crop_width,
            height: crop_height,
        };
        resize_part(picture, (width, height), crop, self.filter)
    }

    /// The numeric half: rescaled and normalised, channels first.
    pub fn normalise(&self, picture: &RgbImage) -> Vec<f32> {
        let (pixels, _) = picture.as_raw().as_chunks::<3>();
        let mut values = Vec::with_capacity(3 * pixels.len());
        let [red, green, blue] = &self.tables;
        // Of each kind a loop of its own, whose length is known.
        values.extend(pixels.iter().map(|&[level, _, _]| red[usize::from(level)]));
        values.extend(
            pixels
                .iter()
                .map(|&[_, level, _]| green[usize::from(level)]),
        );
        values.extend(pixels.iter().map(|&[_, _, level]| blue[usize::from(level)]));
        values
    }

    /// The picture that [`Self::normalise`] made these pixel values of; black where there are too few.
    pub fn denormalise(&self, values: &[f32]) -> RgbImage {
        let (height, width) = self.output;
        let plane = width as usize * height as usize;
        let mut picture = RgbImage::new(width, height);
        for (channel, table) in self.tables.iter().enumerate() {
            let (black, white) = (table[0], table[255]);
            let values = values.iter().skip(channel * plane).take(plane);
            for (pixel, value) in picture.chunks_exact_mut(3).zip(values) {
                if let Some(level) = pixel.get_mut(channel) {
                    *level = ((value - black) / (white - black) * 255.0).round() as u8;
                }
            }
        }
        picture
    }

    /// Stacks pixel values into `[N, 3, height, width]` on the CPU.
    ///
    /// # Errors
    /// [`ModelError::Input`] where an item does not have [`Self::output_size`].
    pub fn batch(&self, items: &[Vec<f32>]) -> Result<Tensor> {
        let (height, width) = (self.output.0 as usize, self.output.1 as usize);
        let wanted = 3 * height * width;
        if let Some(item) = items.iter().find(|item| item.len() != wanted) {
            return Err(ModelError::Input(format!(
                "{} pixel values; {wanted} expected",
                item.len()
            )));
        }
        let shape = [items.len() as i64, 3, height as i64, width as i64];
        Ok(Tensor::f_from_slice(&items.concat())?.f_reshape(shape)?)
    }
}

fn filter(resample: u8) -> Result<Filter> {
    match resample {
        1 => Ok(Filter::Lanczos3),
        2 => Ok(Filter::Bilinear),
        3 => Ok(Filter::Bicubic),
        other => Err(ModelError::Config {
            key: "resample",
            why: format!("{other} is not supported; use 1 (Lanczos), 2 (bilinear) or 3 (bicubic)"),
        }),
    }
}

/// transformers rescales in f64, rounds to f32, and normalises in f32.
fn table(config: &Config, channel: usize) -> Result<[f32; 256]> {
    let scale = if config.do_rescale {
        config.rescale_factor
    } else {
        1.0
    };
    let (mean, deviation) = match (
        config.image_mean.get(channel),
        config.image_std.get(channel),
    ) {
        _ if !config.do_normalize => (0.0, 1.0),
        (Some(&mean), Some(&deviation)) if deviation != 0.0 => (mean, deviation),
        _ => {
            let why =
                "image_mean and image_std need three numbers each, deviations not zero".into();
            return Err(ModelError::Config {
                key: "image_std",
                why,
            });
        }
    };
    let value = |level: usize| ((level as f64 * scale) as f32 - mean) / deviation;
    Ok(std::array::from_fn(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_checkpoints_give_one_number() {
        let vit: Config = serde_json::from_str(r#"{"size": 64}"#).unwrap();
        assert_eq!(Preprocessor::new(vit).unwrap().output_size(), (64, 64));
        let clip = r#"{"size": 32, "crop_size": 24, "do_center_crop": true, "resample": 3,
            "feature_extractor_type": "CLIPFeatureExtractor"}"#;
        let clip = Preprocessor::new(serde_json::from_str(clip).unwrap()).unwrap();
        assert_eq!(clip.output_size(), (24, 24));
        assert_eq!(
            clip.resize_and_crop(&RgbImage::new(40, 90)).dimensions(),
            (24, 24)
        );
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let refused = [
            Config {
                resample: 0,
                ..Config::default()
            },
            Config {
                do_resize: false,
                ..Config::default()
            },
            Config {
                image_std: vec![0.5, 0.5],
                ..Config::default()
            },
            Config {
                do_center_crop: false,
                ..Config::clip(224)
            },
            Config {
                crop_size: Some(Size::Side(225)),
                ..Config::clip(224)
            },
            Config {
                image_processor_type: "ConvNextImageProcessor".into(),
                size: Size::Exact {
                    height: 100,
                    width: 300,
                },
                ..Config::default()
            },
        ];
        for config in refused {
            assert!(
                matches!(
                    Preprocessor::new(config.clone()),
                    Err(ModelError::Config { .. })
                ),
                "{config:?}"
            );
        }
    }

    #[test]
    fn pixel_values_lead_back_to_the_picture() {
        let picture = RgbImage::from_fn(16, 16, |x, y| {
            image::Rgb([(16 * y + x) as u8, (255 - 16 * x - y) as u8, (x * y) as u8])
        });
        for config in [Config::vit(16), Config::clip(16)] {
            let preprocessor = Preprocessor::new(config).unwrap();
            let values = preprocessor.normalise(&picture);
            assert_eq!(preprocessor.denormalise(&values), picture);
        }
        let preprocessor = Preprocessor::new(Config::vit(2)).unwrap();
        assert_eq!(
            preprocessor.denormalise(&[1.0]).as_raw()[..4],
            [255, 0, 0, 0]
        );
    }

    #[test]
    fn batches_refuse_an_item_of_another_size() {
        let preprocessor = Preprocessor::new(Config::vit(8)).unwrap();
        let item = preprocessor.pixel_values(&RgbImage::new(5, 9));
        assert_eq!(
            preprocessor.batch(&[item.clone(), item]).unwrap().size(),
            [2, 3, 8, 8]
        );
        assert!(matches!(
            preprocessor.batch(&[vec![0.0; 3]]),
            Err(ModelError::Input(_))
        ));
    }
}
