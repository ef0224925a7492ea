//! What explanations need of a model, and of an image.

use std::cell::OnceCell;

use image::RgbImage;
use saga_models::{Checkpoint, Classifier, Runtime};
use tch::{Device, Kind, Tensor};

use crate::{
    error::{ExplainError, Result},
    quickshift::quickshift,
};

/// A classifier that can be looked into. Pixel values are [N, 3, H, W] in f32.
pub trait Subject {
    /// Logits [N, C] in f32, without gradients.
    fn logits(&self, pixel_values: &Tensor) -> Result<Tensor>;

    /// Activations of the layer that class activation maps are made of, and the gradient of the logit of `class` with respect
    /// to them: both [N, channels, rows, columns].
    fn activations(&self, pixel_values: &Tensor, class: i64) -> Result<[Tensor; 2]>;

    /// Attention of every block, first to last, [N, heads, tokens, tokens], the CLS token first; empty where there is none.
    fn attention_maps(&self, pixel_values: &Tensor) -> Result<Vec<Tensor>>;
}

/// A classifier in f32 twice: fused for its answers, of which curves, LIME and KernelSHAP ask for thousands, and operator by operator
/// for gradients and attention. ViT-B/16 on two cores of an EPYC without AMX answers in 91 ms a picture by the one and in 200 by the other.
pub struct Twin {
    fused: Classifier,
    differentiable: Classifier,
}

impl Twin {
    /// # Errors
    /// As [`Classifier::from_checkpoint`].
    pub fn new(checkpoint: Checkpoint, device: Device) -> Result<Self> {
        let runtime = Runtime {
            device,
            ..Runtime::REFERENCE
        };
        Ok(Self {
            differentiable: Classifier::to_explain(&checkpoint, device)?,
            fused: Classifier::from_checkpoint(checkpoint, runtime)?,
        })
    }

    /// Whether its attention can be rolled out.
    #[must_use]
    pub fn attends(&self) -> bool {
        matches!(self.differentiable, Classifier::Vit(_))
    }
}

impl Subject for Twin {
    fn logits(&self, pixel_values: &Tensor) -> Result<Tensor> {
        Ok(self.fused.forward(pixel_values)?)
    }

    fn activations(&self, pixel_values: &Tensor, class: i64) -> Result<[Tensor; 2]> {
        Ok(self.differentiable.activations(pixel_values, class)?)
    }

    fn attention_maps(&self, pixel_values: &Tensor) -> Result<Vec<Tensor>> {
        Ok(self.differentiable.attention_maps(pixel_values)?)
    }
}

/// Class probabilities [N, C] on the CPU.
pub(crate) fn probabilities(subject: &impl Subject, pixel_values: &Tensor) -> Result<Tensor> {
    let logits = subject.logits(pixel_values)?;
    Ok(logits
        .f_softmax(-1, Kind::Float)?
        .f_to_device(Device::Cpu)?)
}

/// The most pixels of a picture that is explained: maps, regions and curves take time and memory by the pixel.
pub const MAX_PIXELS: u32 = 1 << 19;

/// One image as the model takes it, and as people and segmentation see it.
pub struct Picture {
    pixel_values: Tensor,
    pixels: RgbImage,
    regions: OnceCell<Vec<usize>>,
}

impl Picture {
    /// `pixel_values` [1, 3, H, W] of `pixels`, which have that size already.
    ///
    /// # Errors
    /// [`ExplainError::Shape`] where the two do not belong together; [`ExplainError::TooManyPixels`] above [`MAX_PIXELS`].
    pub fn new(pixel_values: Tensor, pixels: RgbImage) -> Result<Self> {
        let (width, height) = pixels.dimensions();
        if width.saturating_mul(height) > MAX_PIXELS {
            return Err(ExplainError::TooManyPixels { width, height });
        }
        let wanted = vec![1, 3, height.into(), width.into()];
        let found = pixel_values.size();
        if found != wanted {
            return Err(ExplainError::Shape {
                what: "pixel_values",
                found,
                wanted,
            });
        }
        Ok(Self {
            pixel_values,
            pixels,
            regions: OnceCell::new(),
        })
    }

    /// [1, 3, H, W], normalised.
    pub fn pixel_values(&self) -> &Tensor {
        &self.pixel_values
    }

    /// What people see.
    #[must_use]
    pub fn pixels(&self) -> &RgbImage {
        &self.pixels
    }

    /// Height and width.
    pub(crate) fn size(&self) -> [i64; 2] {
        [self.pixels.height().into(), self.pixels.width().into()]
    }

    /// The region of each pixel, row by row: quickshift(4, 200, 0.2), which lime takes.
    pub(crate) fn regions(&self) -> &[usize] {
        self.regions
            .get_or_init(|| quickshift(&self.pixels, 4.0, 200.0, 0.2))
    }
}
