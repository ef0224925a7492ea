//! Edits of pictures by class with a UNet of classes: noise is added to a picture and taken out towards another class
//! (image-to-image: SDEdit, Meng et al. 2022; guidance: Ho and Salimans 2022), in pixels and without an autoencoder.
//!
//! A directory holds `unet` (`UNet2DModel`), `scheduler`, and a `model_index.json` that names the classes as `DiTPipeline`'s does.

use super::guidance::further;
use super::noise::Noise;
use super::part;
use super::pixels;
use super::scheduler;
use super::unet::UNet2DModel;
use crate::directory;
use crate::error::{ModelError, Result};
use crate::labels::Labels;
use crate::runtime::Runtime;
use crate::weights::Weights;
use saga_imaging::RgbImage;
use serde_json::json;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const INDEX: &str = "model_index.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// A UNet of classes with its scheduler, for serving.
pub struct ClassConditional {
    unet: UNet2DModel,
    scheduler: scheduler::Config,
    labels: Labels,
    device: Device,
}

/// What the edits of one batch have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Steps from pure noise; of them an edit takes the share that `strength` is.
    pub steps: usize,
    /// How much further than without the class, 1 and below: not further.
    pub guidance: f64,
    /// Above 0 (the picture) and at most 1 (the noise).
    pub strength: f64,
}

/// One picture to edit.
pub struct Request<'a> {
    /// [`ClassConditional::side`] pixels wide and high.
    pub image: &'a RgbImage,
    /// What it should show; one of [`ClassConditional::labels`].
    pub label: &'a str,
    pub noise: &'a mut dyn Noise,
}

impl ClassConditional {
    /// Loads a directory that [`write`] wrote, or diffusers.
    ///
    /// # Errors
    /// [`ModelError::Component`] naming the folder or file and what is wrong in it; [`ModelError::Precision`] for integers.
    pub fn load(dir: &Path, runtime: Runtime) -> Result<Self> {
        part::check_precision(runtime)?;
        let file = dir.join(SCHEDULER);
        let pipeline = Self {
            labels: directory::read_json(&dir.join(INDEX))?,
            scheduler: scheduler::Config::read(&file).map_err(ModelError::component(&file))?,
            unet: UNet2DModel::load(&dir.join(directory::UNET), runtime)?,
            device: runtime.device,
        };
        pipeline.check().map_err(ModelError::component(dir))?;
        Ok(pipeline)
    }

    fn check(&self) -> Result<()> {
        self.labels.check()?;
        let config = self.unet.config();
        let (labels, classes) = (self.labels.classes(), config.null_class());
        if labels != classes {
            let why = format!(
                "{labels} names for {classes} classes, beside the one of the UNet that stands for none"
            );
            return Err(ModelError::Config {
                key: "id2label",
                why,
            });
        }
        if [config.in_channels, config.out_channels] != [3, 3] {
            let (from, to) = (config.in_channels, config.out_channels);
            let why = format!("{from} to {to}; pictures have 3 channels");
            return Err(ModelError::Config {
                key: "in_channels",
                why,
            });
        }
        Ok(())
    }

    /// Names of the classes.
    pub fn labels(&self) -> Vec<String> {
        self.labels.names()
    }

    /// Width and height of its pictures.
    pub fn side(&self) -> u32 {
        self.unet.config().sample_size as u32
    }

    /// A picture or an error for each request, in order.
    ///
    /// # Errors
    /// What is wrong with all of the batch: [`ModelError::Input`] for settings, labels and pictures that cannot be met. A
    /// picture alone may be [`ModelError::NotFinite`].
    pub fn edit(
        &self,
        settings: &Settings,
        requests: &mut [Request],
    ) -> Result<Vec<Result<RgbImage>>> {
        let kept = kept_steps(settings)?;
        let classes = self.classes(settings, requests)?;
        let mut scheduler = self
            .scheduler
            .scheduler(self.scheduler.kind, settings.steps)?;
        let mut no_noise = || Err(ModelError::Input("a scheduler that draws noise".into()));
        let first = scheduler.timesteps().len() - kept;
        let (clean, noise) = self.begin(requests)?;
        let mut samples = scheduler.add_noise(&clean, &noise, first)?;
        for step in first..scheduler.timesteps().len() {
            let time = scheduler.timesteps().get(step).copied().unwrap_or(0.0);
            let input = scheduler.scale_model_input(&samples, step)?;
            let output = self.predict(&input, time, &classes, settings.guidance)?;
            samples = scheduler.step(&output, step, &samples, &mut no_noise)?;
        }
        (0..samples.size4()?.0)
            .map(|index| Ok(finished(&samples.f_narrow(0, index, 1)?)))
            .collect()
    }

    /// Pictures and their noise, both [N, 3, side, side].
    fn begin(&self, requests: &mut [Request]) -> Result<(Tensor, Tensor)> {
        let side = i64::from(self.side());
        let (mut images, mut noise) = (Vec::new(), Vec::new());
        for request in requests {
            let image = pixels::from_image(request.image)?;
            if image.size() != [1, 3, side, side] {
                let (width, height) = request.image.dimensions();
                return Err(ModelError::Input(format!(
                    "an image of {width}x{height} pixels; the model takes {side}x{side}"
                )));
            }
            images.push(image);
            noise.push(request.noise.draw(&[1, 3, side, side])?);
        }
        let batch = |parts: &[Tensor]| Tensor::f_cat(parts, 0)?.f_to_device(self.device);
        Ok((batch(&images)?, batch(&noise)?))
    }

    /// Classes [N] of the requests; with guidance [2N], the first half none.
    fn classes(&self, settings: &Settings, requests: &[Request]) -> Result<Tensor> {
        let names = self.labels();
        let class = |request: &Request| {
            let found = names.iter().position(|name| name == request.label);
            found.map(|class| class as i64).ok_or_else(|| {
                let (label, known) = (request.label, names.join(", "));
                ModelError::Input(format!(
                    "class {label:?} is unknown; the model knows {known}"
                ))
            })
        };
        let classes = requests.iter().map(class).collect::<Result<Vec<i64>>>()?;
        let none = vec![self.unet.config().null_class(); classes.len()];
        let asked = match settings.guidance > 1.0 {
            true => [none, classes].concat(),
            false => classes,
        };
        Ok(Tensor::f_from_slice(&asked)?.f_to_device(self.device)?)
    }

    /// What the UNet says of `samples`, further towards the classes than without them where those are asked about, too.
    fn predict(
        &self,
        samples: &Tensor,
        time: f64,
        classes: &Tensor,
        guidance: f64,
    ) -> Result<Tensor> {
        let asked = classes.size1()?;
        let copies = asked / samples.size4()?.0;
        let times = Tensor::f_full([asked], time, (Kind::Float, self.device))?;
        let samples = samples.f_repeat([copies, 1, 1, 1])?;
        let output = self.unet.forward(&samples, &times, classes)?;
        match output.f_chunk(copies, 0)?.as_slice() {
            [without, with] => further(without, with, without, guidance),
            _ => Ok(output),
        }
    }
}

/// Writes a directory that [`ClassConditional::load`] and diffusers load: of a model in training, its classes in order.
///
/// # Errors
/// Files that cannot be written.
pub fn write(
    dir: &Path,
    (unet, weights): (&UNet2DModel, &Weights),
    scheduler: &scheduler::Config,
    labels: &[String],
) -> Result<()> {
    unet.write(&dir.join(directory::UNET), weights)?;
    let file = dir.join(SCHEDULER);
    let folder = file.parent().unwrap_or(dir);
    std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    scheduler.write_ddim(&file)?;
    let index = json!({
        "_class_name": "DDIMPipeline",
        "id2label": Labels::new(labels).id2label,
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    });
    directory::write_json(&dir.join(INDEX), &index)
}

/// How many of the steps an edit takes.
fn kept_steps(settings: &Settings) -> Result<usize> {
    let Settings {
        steps,
        guidance,
        strength,
    } = *settings;
    let refuse = |why: String| Err(ModelError::Input(why));
    if !guidance.is_finite() {
        return refuse(format!("guidance {guidance}; use a number"));
    }
    if !(strength > 0.0 && strength <= 1.0) {
        return refuse(format!(
            "strength {strength}; use one above 0 and at most 1"
        ));
    }
    match ((steps as f64 * strength) as usize).min(steps) {
        0 => refuse(format!(
            "strength {strength} of {steps} steps is less than one; use more of either"
        )),
        kept => Ok(kept),
    }
}

fn finished(sample: &Tensor) -> Result<RgbImage> {
    if sample.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
        return Err(ModelError::NotFinite);
    }
    pixels::to_image(sample)
}
