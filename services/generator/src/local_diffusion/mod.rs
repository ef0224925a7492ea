//! The backend named `local-diffusion`: edits by a small diffusion model that the trainer made of the data set's own images.
//!
//! The source is brought to the model's size, noise is added and taken out towards the target class, and the change is brought back
//! to the source. The prompt is not read. Each answer names the training image, other than its source, that it is nearest to, its
//! distance, and the share of training images that are nearer than that to another one.

mod config;
mod model;
mod request;

use std::sync::Arc;

use anyhow::Context as _;
use futures::future::BoxFuture;
use saga_chassis::{Metrics, Readiness};
use saga_imaging::{DecodeLimits, encode_jpeg};
use saga_models::Runtime;
use saga_serving::Registry;

use crate::backend::{Backend, Description, Made, Outcome, Spec, Without};
use crate::error::GenerateError;
use crate::pool::Pool;

pub use config::LocalDiffusionConfig;
pub use model::{LocalLoader, LocalModel};

/// The name of the backend and of its model.
pub const NAME: &str = "local-diffusion";

/// The backend with the model that is loaded.
pub struct LocalDiffusion {
    config: LocalDiffusionConfig,
    limits: DecodeLimits,
    pool: Pool,
    models: Arc<Registry<LocalLoader>>,
}

impl LocalDiffusion {
    /// Loads the model of the configuration, where it names one; others come by LoadModel.
    ///
    /// # Errors
    /// A directory that gives no model; a device or precision that is not to be had.
    pub async fn start(
        config: LocalDiffusionConfig,
        limits: DecodeLimits,
        pool: Pool,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let loader = LocalLoader {
            runtime: Runtime::select(&config.device, &config.precision)?,
            metrics: metrics.work(NAME),
        };
        // Without this model the generator can do all its other work.
        let models = Arc::new(Registry::new(loader, Readiness::not_ready()));
        if !config.directory.as_os_str().is_empty() {
            let loaded = models.load(NAME, &config.directory, true).await;
            loaded
                .map_err(|status| anyhow::anyhow!(status.message().to_owned()))
                .context("the model of `local_diffusion.directory` does not load")?;
        }
        Ok(Self {
            config,
            limits,
            pool,
            models,
        })
    }

    /// The models that are loaded.
    pub fn models(&self) -> Arc<Registry<LocalLoader>> {
        Arc::clone(&self.models)
    }

    async fn make(&self, spec: Spec) -> Result<Made, GenerateError> {
        let wanted = spec.parameters.get(request::MODEL);
        let held = self
            .models
            .get(wanted.map_or("", String::as_str))
            .map_err(|status| GenerateError::refused("MODEL_NOT_LOADED", status.message()))?;
        let (config, limits) = (self.config.clone(), self.limits);
        let facts = Arc::clone(&held.model.facts);
        let read = move || request::read(spec, &config, &facts, &limits);
        let (job, finish) = self.pool.run(read).await?;
        let (outcome, parameters) = match held.model.edit(job).await? {
            Ok(edited) => {
                let encode = move || {
                    let jpeg = encode_jpeg(&finish.picture(&edited.picture), finish.quality);
                    let jpeg = jpeg.map_err(|error| GenerateError::Internal(error.to_string()))?;
                    Ok((jpeg, finish.parameters(Some(&edited))))
                };
                let (jpeg, parameters) = self.pool.run(encode).await?;
                (Outcome::Image(jpeg.into()), parameters)
            }
            Err(why) => (
                Outcome::Without(Without::NoImage, why),
                finish.parameters(None),
            ),
        };
        Ok(Made {
            outcome,
            parameters,
            cost_usd: 0.0,
            fault: None,
        })
    }
}

impl Backend for LocalDiffusion {
    fn describe(&self) -> Description {
        let held = self.models.get("");
        let revision = held.map(|held| format!("-{}", held.version().revision));
        Description {
            name: NAME,
            description: "Edits photographs with a small diffusion model trained on the data set itself.",
            version: format!("{NAME}{}", revision.unwrap_or_default()),
            needs_source: true,
            exemplars: 0,
            deterministic: true,
            cost_usd: 0.0,
            batch_cost_usd: None,
        }
    }

    fn generate(&self, spec: Spec) -> BoxFuture<'_, Result<Made, GenerateError>> {
        Box::pin(self.make(spec))
    }
}
