//! Where the pixels come from: sizes and centre crops as transformers, torchvision and timm compute them.

use super::{Config, CropRounding, Size};
use crate::error::{ModelError, Result};
use saga_imaging::RgbImage;

const MAX_SIDE: u32 = 4096;

/// What a picture is resized to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resize {
    /// Height and width, whatever the aspect.
    Exact(u32, u32),
    /// The shorter side; the aspect is kept.
    ShortestEdge(u32),
}

impl Resize {
    /// What a picture is resized to, and the size of what is cut from its centre.
    pub(super) fn and_output(config: &Config) -> Result<(Self, (u32, u32))> {
        let refuse = |key, why: &str| {
            Err(ModelError::Config {
                key,
                why: why.into(),
            })
        };
        if !config.do_resize {
            return refuse("do_resize", "must be true: the model takes one size");
        }
        let exact = |size| match size {
            Size::Exact { height, width } => (height, width),
            Size::ShortestEdge {
                shortest_edge: side,
            }
            | Size::Side(side) => (side, side),
        };
        let whole = exact(config.size);
        if whole.0.max(whole.1) > MAX_SIDE {
            return refuse("size", "must be at most 4096");
        }
        if config.image_processor_type.starts_with("ConvNext") {
            return conv_next(config, whole);
        }
        let resize = match config.size {
            Size::ShortestEdge {
                shortest_edge: side,
            } => Resize::ShortestEdge(side),
            Size::Side(side) if config.do_center_crop => Resize::ShortestEdge(side),
            Size::Side(_) | Size::Exact { .. } => Resize::Exact(whole.0, whole.1),
        };
        let output = match (config.do_center_crop, resize) {
            (true, _) => exact(config.crop_size.unwrap_or(config.size)),
            (false, Resize::Exact(..)) => whole,
            (false, Resize::ShortestEdge(_)) => {
                return refuse(
                    "do_center_crop",
                    "must be true with a shortest_edge: the model takes one size",
                );
            }
        };
        if output.0 == 0 || output.1 == 0 || output.0 > whole.0 || output.1 > whole.1 {
            return refuse(
                "crop_size",
                "must be positive and within the resized picture",
            );
        }
        Ok((resize, output))
    }

    /// Height and width of a picture once it is resized.
    pub(super) fn size(self, picture: &RgbImage) -> (u32, u32) {
        match self {
            Self::ShortestEdge(side) => keep_aspect(picture, side),
            Self::Exact(height, width) => (height, width),
        }
    }
}

/// What lies before a centre crop of so much margin.
pub(super) fn half_margin(rounding: CropRounding, margin: u32) -> u32 {
    match rounding {
        CropRounding::Down => margin / 2,
        CropRounding::HalfToEven => margin / 2 + u32::from(margin % 4 == 3),
    }
}

/// transformers truncates the long side; it is never shorter than the short one.
fn keep_aspect(picture: &RgbImage, side: u32) -> (u32, u32) {
    let (width, height) = picture.dimensions();
    let long = |long: u32, short: u32| {
        (u64::from(side) * u64::from(long) / u64::from(short.max(1))) as u32
    };
    if width <= height {
        (long(height, width).max(side), side)
    } else {
        (side, long(width, height))
    }
}

/// `ConvNextImageProcessor`: a crop of `whole` below 384 pixels, a squash from there.
fn conv_next(config: &Config, whole: (u32, u32)) -> Result<(Resize, (u32, u32))> {
    let share = config.crop_pct.unwrap_or(0.875);
    if !(0.1..=1.0).contains(&share) || whole.0 == 0 || whole.1 == 0 {
        return Err(ModelError::Config {
            key: "crop_pct",
            why: "must be from 0.1 to 1, of a positive size".into(),
        });
    }
    if whole.0 < 384 && whole.0 != whole.1 {
        return Err(ModelError::Config {
            key: "size",
            why: "must be a shortest edge or a square below 384".into(),
        });
    }
    let resize = if whole.0 < 384 {
        Resize::ShortestEdge((f64::from(whole.0) / share) as u32)
    } else {
        Resize::Exact(whole.0, whole.1)
    };
    Ok((resize, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_thin_picture_keeps_its_aspect() {
        assert_eq!(keep_aspect(&RgbImage::new(333, 100), 224), (224, 745));
        assert_eq!(keep_aspect(&RgbImage::new(100, 333), 224), (745, 224));
        assert_eq!(keep_aspect(&RgbImage::new(50, 50), 224), (224, 224));
    }
}
