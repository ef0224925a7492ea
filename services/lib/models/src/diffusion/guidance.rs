//! Classifier-free guidance (Ho and Salimans 2022), with the prompt and without it in one batch; for InstructPix2Pix (Brooks et al.
//! 2023) with the image and without it, too.

use super::unet::UNet2DConditionModel;
use crate::error::Result;
use tch::Tensor;

/// What the UNet is asked beside the latents, and how its answers become one.
pub(super) struct Guidance {
    /// The texts, as often as latents are asked about.
    context: Tensor,
    /// Latents of images to follow, as often.
    images: Option<Tensor>,
    scales: Scales,
}

/// How answers become one.
#[derive(Clone, Copy)]
enum Scales {
    /// As it is.
    None,
    /// From without the prompt to with it.
    Text(f64),
    /// Prompt and image; image; neither.
    TextAndImage { text: f64, image: f64 },
}

impl Guidance {
    /// Of prompts, and of negative ones where they are asked.
    pub(super) fn of_text(scale: f64, with: Tensor, without: Option<Tensor>) -> Result<Self> {
        let (context, scales) = match without {
            Some(without) => (Tensor::f_cat(&[without, with], 0)?, Scales::Text(scale)),
            None => (with, Scales::None),
        };
        Ok(Self {
            context,
            images: None,
            scales,
        })
    }

    /// The same with images to follow: InstructPix2Pix.
    pub(super) fn of_text_and_image(
        [text, image]: [f64; 2],
        with: Tensor,
        without: Option<Tensor>,
        images: &Tensor,
    ) -> Result<Self> {
        let Some(without) = without else {
            let images = Some(images.shallow_clone());
            return Ok(Self {
                context: with,
                images,
                scales: Scales::None,
            });
        };
        let blank = images.f_zeros_like()?;
        Ok(Self {
            context: Tensor::f_cat(&[&with, &without, &without], 0)?,
            images: Some(Tensor::f_cat(&[images, images, &blank], 0)?),
            scales: Scales::TextAndImage { text, image },
        })
    }

    /// What all answers of the UNet together say of `latents` [N, channels, height, width].
    pub(super) fn predict(
        &self,
        unet: &UNet2DConditionModel,
        latents: &Tensor,
        time: f64,
    ) -> Result<Tensor> {
        let copies = match self.scales {
            Scales::None => 1,
            Scales::Text(_) => 2,
            Scales::TextAndImage { .. } => 3,
        };
        let mut input = latents.f_repeat([copies, 1, 1, 1])?;
        if let Some(images) = &self.images {
            input = Tensor::f_cat(&[&input, images], 1)?;
        }
        let output = unet.forward(&input, time, &self.context)?;
        let parts = output.f_chunk(copies, 0)?;
        match (self.scales, parts.as_slice()) {
            (Scales::Text(scale), [without, with]) => further(without, with, without, scale),
            (Scales::TextAndImage { text, image }, [both, followed, neither]) => {
                let guided = further(neither, both, followed, text)?;
                further(&guided, followed, neither, image)
            }
            _ => Ok(output),
        }
    }
}

/// `base + scale (to - from)`.
pub(super) fn further(base: &Tensor, to: &Tensor, from: &Tensor, scale: f64) -> Result<Tensor> {
    Ok(to.f_sub(from)?.f_mul_scalar(scale)?.f_add_(base)?)
}
