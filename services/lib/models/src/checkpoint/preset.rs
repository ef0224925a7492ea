//! Preprocessing as timm, open_clip and torchvision state it, in transformers' terms.

use crate::error::{ModelError, Result};
use crate::preprocess::{Config, CropRounding, Size};
use serde::Deserialize;

/// Mean and deviation of ImageNet's pixels, as every framework states them.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// timm's `pretrained_cfg`; defaults are timm's.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Timm {
    input_size: [u32; 3],
    interpolation: String,
    crop_pct: f64,
    crop_mode: String,
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Default for Timm {
    fn default() -> Self {
        Self {
            input_size: [3, 224, 224],
            interpolation: "bicubic".into(),
            crop_pct: 0.875,
            crop_mode: "center".into(),
            mean: IMAGENET.0.to_vec(),
            std: IMAGENET.1.to_vec(),
        }
    }
}

impl Timm {
    /// What timm's evaluation transform does.
    pub(super) fn config(self) -> Result<Config> {
        let [_, height, width] = self.input_size;
        let scaled = |side: u32| (f64::from(side) / self.crop_pct).floor() as u32;
        let size = match self.crop_mode.as_str() {
            "center" if height == width => Size::ShortestEdge {
                shortest_edge: scaled(height),
            },
            "squash" => Size::Exact {
                height: scaled(height),
                width: scaled(width),
            },
            other => {
                let why = format!(
                    "{other:?} of {height} x {width} is not supported; use \"center\" of a square or \"squash\""
                );
                return Err(ModelError::Config {
                    key: "crop_mode",
                    why,
                });
            }
        };
        Ok(Config {
            size,
            crop_size: Some(Size::Exact { height, width }),
            resample: resample(&self.interpolation)?,
            image_mean: self.mean,
            image_std: self.std,
            ..cropped()
        })
    }
}

/// open_clip's `preprocess_cfg`; defaults are open_clip's.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct OpenClip {
    interpolation: Option<String>,
    resize_mode: Option<String>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
}

impl OpenClip {
    /// What open_clip's evaluation transform does for a model of `side` pixels.
    pub(super) fn config(self, side: u32) -> Result<Config> {
        let exact = Size::Exact {
            height: side,
            width: side,
        };
        let size = match self.resize_mode.as_deref().unwrap_or("shortest") {
            "shortest" => Size::ShortestEdge {
                shortest_edge: side,
            },
            "squash" => exact,
            other => {
                let why = format!("{other:?} is not supported; use \"shortest\" or \"squash\"");
                return Err(ModelError::Config {
                    key: "resize_mode",
                    why,
                });
            }
        };
        let clip = Config::clip(side);
        Ok(Config {
            size,
            crop_size: Some(exact),
            resample: resample(self.interpolation.as_deref().unwrap_or("bicubic"))?,
            image_mean: self.mean.unwrap_or(clip.image_mean),
            image_std: self.std.unwrap_or(clip.image_std),
            image_processor_type: clip.image_processor_type,
            ..cropped()
        })
    }
}

/// torchvision's `IMAGENET1K_V1`.
pub(super) fn torchvision() -> Config {
    Config {
        size: Size::ShortestEdge { shortest_edge: 256 },
        crop_size: Some(Size::Side(224)),
        resample: 2,
        image_mean: IMAGENET.0.to_vec(),
        image_std: IMAGENET.1.to_vec(),
        ..cropped()
    }
}

/// A centre crop as torchvision places it, which timm and open_clip use too.
fn cropped() -> Config {
    Config {
        do_center_crop: true,
        center_crop_rounding: CropRounding::HalfToEven,
        ..Config::default()
    }
}

fn resample(name: &str) -> Result<u8> {
    match name {
        "lanczos" => Ok(1),
        "bilinear" => Ok(2),
        "bicubic" => Ok(3),
        other => Err(ModelError::Config {
            key: "interpolation",
            why: format!("{other:?} is not supported; use bilinear, bicubic or lanczos"),
        }),
    }
}
