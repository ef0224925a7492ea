//! The backend named `stable-diffusion`: pictures of prompts, edits of photographs, by a diffusers directory on this machine.
//!
//! With a source image it begins with that (image-to-image), without one with noise (text-to-image); a directory of
//! InstructPix2Pix follows the prompt as an instruction instead, and needs a source.

mod config;
mod request;
mod worker;

use std::sync::Arc;

use futures::future::BoxFuture;
use saga_chassis::Metrics;
use saga_imaging::{DecodeLimits, encode_jpeg};

use crate::backend::{Backend, Description, Made, Outcome, Spec, Without};
use crate::error::GenerateError;
use crate::pool::Pool;

pub use config::{LoraConfig, StableDiffusionConfig};
use worker::{Facts, Worker};

/// The backend with its model's thread.
pub struct StableDiffusion {
    config: StableDiffusionConfig,
    limits: DecodeLimits,
    pool: Pool,
    facts: Arc<Facts>,
    worker: Worker,
}

impl StableDiffusion {
    /// Loads the model of the configuration, where it names one.
    ///
    /// # Errors
    /// A directory that gives no pipeline; a device or precision that is not to be had.
    pub async fn load(
        config: StableDiffusionConfig,
        limits: DecodeLimits,
        pool: Pool,
        metrics: &Metrics,
    ) -> anyhow::Result<Option<Self>> {
        if config.directory.as_os_str().is_empty() {
            return Ok(None);
        }
        let (worker, facts) = Worker::spawn(&config, metrics.work("stable-diffusion")).await?;
        Ok(Some(Self {
            config,
            limits,
            pool,
            facts: Arc::new(facts),
            worker,
        }))
    }

    async fn make(&self, spec: Spec) -> Result<Made, GenerateError> {
        let (config, facts) = (self.config.clone(), Arc::clone(&self.facts));
        let limits = self.limits;
        let read = move || request::read(spec, &config, &facts, &limits);
        let (job, parameters, quality) = self.pool.run(read).await?;
        let outcome = match self.worker.make(job).await? {
            Ok(picture) => {
                let encode = move || {
                    let jpeg = encode_jpeg(&picture, quality);
                    jpeg.map_err(|error| GenerateError::Internal(error.to_string()))
                };
                Outcome::Image(self.pool.run(encode).await?.into())
            }
            Err(why) => Outcome::Without(Without::NoImage, why),
        };
        Ok(Made {
            outcome,
            parameters,
            cost_usd: 0.0,
            fault: None,
        })
    }
}

impl Backend for StableDiffusion {
    fn describe(&self) -> Description {
        Description {
            name: "stable-diffusion",
            description: "Makes pictures of prompts and edits photographs with Stable Diffusion on this machine.",
            version: format!("stable-diffusion-{}", self.facts.revision),
            needs_source: self.facts.is_instructed,
            exemplars: 0,
            deterministic: self.facts.max_batch == 1,
            cost_usd: 0.0,
            batch_cost_usd: None,
        }
    }

    fn generate(&self, spec: Spec) -> BoxFuture<'_, Result<Made, GenerateError>> {
        Box::pin(self.make(spec))
    }
}
