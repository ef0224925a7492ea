//! Stable Diffusion (Rombach et al. 2022) from prompt to pixels, as diffusers' `StableDiffusionPipeline`,
//! `StableDiffusionImg2ImgPipeline` and `StableDiffusionInstructPix2PixPipeline` (Brooks et al. 2023).

use super::guidance::Guidance;
use super::lora::{Changes, Lora, Part};
use super::noise::Noise;
use super::scheduler::{self, Kind, Scheduler};
use super::text_encoder::TextEncoder;
use super::unet::UNet2DConditionModel;
use super::vae::AutoencoderKL;
use super::{index, part, pixels};
use crate::checkpoint::Tensors;
use crate::error::{ModelError, Result};
use crate::runtime::Runtime;
use saga_imaging::RgbImage;
use std::path::Path;
use tch::{Device, Tensor};

/// A pipeline with its weights, for serving.
pub struct StableDiffusion {
    text_encoder: TextEncoder,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    scheduler: scheduler::Config,
    device: Device,
}

/// What the images of one batch have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Steps from pure noise; with a strength below 1 that share of them.
    pub steps: usize,
    /// How much further than without the prompt, 1 and below: not further, and the negative prompt is not asked.
    pub guidance: f64,
    pub scheduler: Kind,
    pub task: Task,
}

/// What an image begins with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Task {
    /// Noise.
    TextToImage { width: u32, height: u32 },
    /// Noise and an image, `strength` above 0 (the image) and at most 1 (the noise).
    ImageToImage { strength: f64 },
    /// Noise, with an image to follow beside it: InstructPix2Pix. `image_guidance` from 1 on says how closely.
    Instruct { image_guidance: f64 },
}

/// One image to make.
pub struct Request<'a> {
    pub prompt: &'a str,
    pub negative_prompt: &'a str,
    /// To begin with or to follow, of the same size for all of a batch.
    pub image: Option<&'a RgbImage>,
    pub noise: &'a mut dyn Noise,
}

impl StableDiffusion {
    /// Loads a diffusers directory and merges changes into its weights.
    ///
    /// # Errors
    /// [`ModelError::Component`] naming the folder or file and what is wrong in it; [`ModelError::Precision`] for integers.
    pub fn load(dir: &Path, runtime: Runtime, loras: &[Lora]) -> Result<Self> {
        part::check_precision(runtime)?;
        index::check(dir)?;
        let changes: Result<Vec<Changes>> = loras.iter().map(Changes::read).collect();
        let mut changes = changes?;
        let mut merged = |part: Part, mut tensors: Tensors| {
            for change in &mut changes {
                change.merge(part, &mut tensors)?;
            }
            Ok(tensors)
        };
        let file = dir.join("scheduler/scheduler_config.json");
        let pipeline = Self {
            scheduler: scheduler::Config::read(&file).map_err(ModelError::component(&file))?,
            text_encoder: TextEncoder::load(dir, runtime, |tensors| {
                merged(Part::TextEncoder, tensors)
            })?,
            unet: UNet2DConditionModel::load(&dir.join("unet"), runtime, |tensors| {
                merged(Part::UNet, tensors)
            })?,
            vae: AutoencoderKL::load(&dir.join("vae"), runtime)?,
            device: runtime.device,
        };
        pipeline.check().map_err(ModelError::component(dir))?;
        Ok(pipeline)
    }

    /// Whether the parts fit each other.
    fn check(&self) -> Result<()> {
        let refuse = |key, why: String| Err(ModelError::Config { key, why });
        let (unet, latent) = (self.unet.config(), self.vae.config().latent_channels);
        if ![latent, 2 * latent].contains(&unet.in_channels) {
            let why = format!(
                "{} of the UNet; the autoencoder has {latent} latent channels",
                unet.in_channels
            );
            return refuse("in_channels", why);
        }
        if unet.out_channels != latent {
            let why = format!(
                "{} of the UNet; the autoencoder has {latent} latent channels",
                unet.out_channels
            );
            return refuse("out_channels", why);
        }
        if unet.cross_attention_dim != self.text_encoder.width() {
            let why = format!(
                "{} of the UNet; texts are {} wide",
                unet.cross_attention_dim,
                self.text_encoder.width()
            );
            return refuse("cross_attention_dim", why);
        }
        Ok(())
    }

    pub fn text_encoder(&self) -> &TextEncoder {
        &self.text_encoder
    }

    pub fn unet(&self) -> &UNet2DConditionModel {
        &self.unet
    }

    /// Whether it edits by instruction, and so takes [`Task::Instruct`] alone.
    pub fn is_instructed(&self) -> bool {
        self.unet.config().in_channels != self.vae.config().latent_channels
    }

    /// The scheduler of its directory.
    pub fn scheduler(&self) -> Kind {
        self.scheduler.kind
    }

    /// Sides of images are multiples of this.
    pub fn scale(&self) -> i64 {
        self.vae.config().scale()
    }

    /// Lets images larger than those of training through the autoencoder in tiles.
    pub fn set_tiling(&mut self, tiling: bool) {
        self.vae.tiling = tiling;
    }

    /// An image or an error for each request, in order.
    ///
    /// # Errors
    /// What is wrong with all of the batch: [`ModelError::Input`] for settings and images that cannot be met. An image alone
    /// may be [`ModelError::NotFinite`].
    pub fn generate(
        &self,
        settings: &Settings,
        requests: &mut [Request],
    ) -> Result<Vec<Result<RgbImage>>> {
        self.check_settings(settings)?;
        let mut scheduler = self
            .scheduler
            .scheduler(settings.scheduler, settings.steps)?;
        let (mut latents, first) = self.start(settings, scheduler.as_ref(), requests)?;
        let guidance = self.guidance(settings, requests)?;
        let shape = single(&latents);
        for step in first..scheduler.timesteps().len() {
            let time = scheduler.timesteps().get(step).copied().unwrap_or(0.0);
            let input = scheduler.scale_model_input(&latents, step)?;
            let output = guidance.predict(&self.unet, &input, time)?;
            let mut noise = || drawn(requests, &shape, self.device);
            latents = scheduler.step(&output, step, &latents, &mut noise)?;
        }
        let latents = latents.f_div_scalar(self.vae.config().scaling_factor)?;
        (0..latents.size4()?.0)
            .map(|index| Ok(self.finish(&latents.f_narrow(0, index, 1)?)))
            .collect()
    }

    fn guidance(&self, settings: &Settings, requests: &[Request]) -> Result<Guidance> {
        let texts = |of: fn(&Request) -> String| {
            let prompts: Vec<String> = requests.iter().map(of).collect();
            let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
            self.text_encoder.forward(&prompts)
        };
        let with = texts(|request| request.prompt.to_owned())?;
        let without =
            (settings.guidance > 1.0).then(|| texts(|request| request.negative_prompt.to_owned()));
        let without = without.transpose()?;
        match settings.task {
            Task::Instruct { image_guidance } => {
                let images = self.vae.encode(&self.images(requests)?)?.mean;
                Guidance::of_text_and_image(
                    [settings.guidance, image_guidance],
                    with,
                    without,
                    &images,
                )
            }
            _ => Guidance::of_text(settings.guidance, with, without),
        }
    }

    fn finish(&self, latents: &Tensor) -> Result<RgbImage> {
        let finite = latents.f_isfinite()?.f_all()?;
        if finite.f_int64_value(&[])? == 0 {
            return Err(ModelError::NotFinite);
        }
        pixels::to_image(&self.vae.decode(latents)?)
    }

    fn check_settings(&self, settings: &Settings) -> Result<()> {
        let refuse = |why: String| Err(ModelError::Input(why));
        if !settings.guidance.is_finite() {
            return refuse(format!("guidance {}; use a number", settings.guidance));
        }
        match settings.task {
            Task::Instruct { .. } if !self.is_instructed() => refuse(
                "this pipeline does not follow instructions; use text-to-image or image-to-image"
                    .into(),
            ),
            Task::TextToImage { .. } | Task::ImageToImage { .. } if self.is_instructed() => {
                refuse("this pipeline edits an image by instruction, and does nothing else".into())
            }
            Task::ImageToImage { strength } if !(strength > 0.0 && strength <= 1.0) => refuse(
                format!("strength {strength}; use one above 0 and at most 1"),
            ),
            Task::Instruct { image_guidance }
                if !(image_guidance.is_finite() && image_guidance >= 1.0) =>
            {
                refuse(format!(
                    "image guidance {image_guidance}; use one from 1 on"
                ))
            }
            _ => Ok(()),
        }
    }

    /// The latents that the first step is given, and its number.
    fn start(
        &self,
        settings: &Settings,
        scheduler: &dyn Scheduler,
        requests: &mut [Request],
    ) -> Result<(Tensor, usize)> {
        let (width, height) = match (
            settings.task,
            requests.first().and_then(|request| request.image),
        ) {
            (Task::TextToImage { width, height }, _) => (width, height),
            (_, Some(image)) => image.dimensions(),
            (_, None) => return Err(ModelError::Input("no image to begin with".into())),
        };
        let scale = self.scale();
        let sides = [i64::from(height), i64::from(width)];
        if sides.iter().any(|side| *side == 0 || side % scale != 0) {
            return Err(ModelError::Input(format!(
                "an image of {width}x{height} pixels; sides must be multiples of {scale}"
            )));
        }
        let latent = self.vae.config();
        let shape = [
            1,
            latent.latent_channels,
            sides[0] / scale,
            sides[1] / scale,
        ];
        let Task::ImageToImage { strength } = settings.task else {
            let noise = drawn(requests, &shape, self.device)?;
            return Ok((noise.f_mul_scalar(scheduler.init_noise_sigma())?, 0));
        };
        let steps = settings.steps;
        let kept = ((steps as f64 * strength) as usize).min(steps);
        if kept == 0 {
            return Err(ModelError::Input(format!(
                "strength {strength} of {steps} steps is less than one; use more of either"
            )));
        }
        let posterior = self.vae.encode(&self.images(requests)?)?;
        let drawn_latents = drawn(requests, &shape, self.device)?.f_mul(&posterior.deviation)?;
        let clean = posterior
            .mean
            .f_add(&drawn_latents)?
            .f_mul_scalar(latent.scaling_factor)?;
        let noise = drawn(requests, &shape, self.device)?;
        let first = steps - kept;
        Ok((scheduler.add_noise(&clean, &noise, first)?, first))
    }

    /// The requests' images [N, 3, height, width].
    fn images(&self, requests: &[Request]) -> Result<Tensor> {
        let images = requests.iter().map(|request| {
            let image = request
                .image
                .ok_or_else(|| ModelError::Input("no image to begin with".into()))?;
            pixels::from_image(image)
        });
        let images = images.collect::<Result<Vec<Tensor>>>()?;
        if images
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a.size() != b.size()))
        {
            return Err(ModelError::Input(
                "images of one batch must be of one size".into(),
            ));
        }
        Ok(Tensor::f_cat(&images, 0)?.f_to_device(self.device)?)
    }
}

/// Noise of each request, [N, ..].
fn drawn(requests: &mut [Request], shape: &[i64], device: Device) -> Result<Tensor> {
    let noise = requests.iter_mut().map(|request| request.noise.draw(shape));
    let noise = noise.collect::<Result<Vec<Tensor>>>()?;
    Ok(Tensor::f_cat(&noise, 0)?.f_to_device(device)?)
}

/// The shape of one of a batch.
fn single(batch: &Tensor) -> Vec<i64> {
    let sides = batch.size().into_iter().skip(1);
    std::iter::once(1).chain(sides).collect()
}
