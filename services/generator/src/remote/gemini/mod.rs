//! Gemini: edits a source image or makes one of text, over `models/MODEL:generateContent` of its REST API, or, for less and
//! later, over `models/MODEL:batchGenerateContent`.
//!
//! References: <https://ai.google.dev/api/generate-content>, <https://ai.google.dev/api/batch-api>.

mod answer;
mod batches;
mod text;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::future::BoxFuture;
use reqwest::RequestBuilder;
use saga_chassis::InvalidValue;
use serde::{Deserialize, Serialize};

use super::answers::{Answered, Failure};
use super::backend::Remote;
use super::batch::{BatchConfig, Batches};
use super::config::{KeyLimits, Price, check_endpoint, check_prices};
use super::http::{Http, HttpAnswer};
use super::keys::{KeyRing, Secret, Source};
use super::prepared::{AnswerPrice, Prepared};
use crate::backend::{Description, Spec};
use crate::error::GenerateError;
use crate::parameters::{Parameters, invalid};

pub use text::{GeminiText, TextConfig};

const PARAMETERS: [&str; 5] = [
    "model",
    "image_size",
    "aspect_ratio",
    "temperature",
    "batch",
];
const KEY_HEADER: &str = "x-goog-api-key";
/// The environment variable that Google's own clients read.
const KEY_VARIABLE: &str = "GEMINI_API_KEY";

/// The `[gemini]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeminiConfig {
    /// Up to and with the API's version.
    pub endpoint: String,
    pub model: String,
    /// Empty: `GEMINI_API_KEY` of the environment.
    pub keys_file: PathBuf,
    pub requests_per_minute: u32,
    pub requests_per_day: u32,
    /// What is asked where there is a source image; holds `{source}`, `{target}` and `{prompt}`.
    pub edit_instruction: String,
    /// What is asked where there is none.
    pub create_instruction: String,
    pub prices: BTreeMap<String, Price>,
    pub batch: BatchConfig,
    pub text: TextConfig,
}

impl GeminiConfig {
    /// Whether every value can be used.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), InvalidValue> {
        check_endpoint("gemini.endpoint", &self.endpoint)?;
        InvalidValue::unless_within(
            "gemini.requests_per_minute",
            self.requests_per_minute,
            1..=1_000_000,
        )?;
        InvalidValue::unless_within(
            "gemini.requests_per_day",
            self.requests_per_day,
            1..=1_000_000,
        )?;
        self.batch.check()?;
        self.text.check()?;
        check_prices(
            ("gemini.model", &self.model),
            ("gemini.prices", &self.prices),
        )
    }

    /// The endpoint without a slash at its end.
    fn base(&self) -> &str {
        self.endpoint.trim_end_matches('/')
    }

    /// The keys there are.
    pub fn keys(&self) -> KeyRing {
        let source = Source::file_or(&self.keys_file, Source::Environment(KEY_VARIABLE));
        let limits = KeyLimits {
            requests_per_minute: Some(self.requests_per_minute),
            requests_per_day: Some(self.requests_per_day),
        };
        KeyRing::new(source, limits)
    }
}

/// The backend named `gemini`.
pub struct Gemini {
    config: GeminiConfig,
}

impl Gemini {
    /// Asks the configured endpoint.
    pub fn new(config: GeminiConfig) -> Self {
        Self { config }
    }

    fn price(&self, model: &str) -> Result<&Price, GenerateError> {
        self.config.prices.get(model).ok_or_else(|| {
            let known: Vec<&str> = self.config.prices.keys().map(String::as_str).collect();
            let why = format!(
                "is '{model}', which has no price; there are prices of {}, others go into gemini.prices",
                known.join(", ")
            );
            invalid("model", why)
        })
    }

    fn instruction(&self, spec: &Spec) -> String {
        let template = match spec.source {
            Some(_) => &self.config.edit_instruction,
            None => &self.config.create_instruction,
        };
        template
            .replace("{source}", &spec.source_label)
            .replace("{target}", &spec.target_label)
            .replace("{prompt}", &spec.prompt)
    }

    fn body(&self, spec: &Spec, prepared: &Prepared) -> wire::Request {
        let setting = |name: &str| prepared.parameters.get(name).cloned();
        let config = wire::ImageConfig {
            aspect_ratio: setting("aspect_ratio"),
            image_size: setting("image_size"),
        };
        wire::Request {
            contents: wire::contents(self.instruction(spec), spec.source.as_deref()),
            generation_config: wire::GenerationConfig {
                response_modalities: vec!["IMAGE".to_owned()],
                // The API takes 31 bits.
                seed: Some((spec.seed & 0x7fff_ffff) as i32),
                temperature: setting("temperature").and_then(|text| text.parse().ok()),
                image_config: (config != wire::ImageConfig::default()).then_some(config),
                ..wire::GenerationConfig::default()
            },
        }
    }
}

impl Remote for Gemini {
    fn describe(&self) -> Description {
        let price = self.config.prices.get(&self.config.model);
        Description {
            name: "gemini",
            description: "Asks Google's Gemini to edit the source image, or to make one of the prompt alone.",
            version: self.config.model.clone(),
            needs_source: false,
            exemplars: 0,
            deterministic: false,
            cost_usd: price.map_or(0.0, |price| price.image(None)),
            batch_cost_usd: price.map(|price| self.config.batch.price * price.image(None)),
        }
    }

    fn prepare(&self, spec: &Spec) -> Result<Prepared, GenerateError> {
        let mut parameters = Parameters::new(spec.parameters.clone());
        let model = parameters
            .text("model")
            .unwrap_or_else(|| self.config.model.clone());
        let price = self.price(&model)?;
        let size = parameters.text("image_size");
        let aspect_ratio = parameters.text("aspect_ratio");
        let temperature = parameters.optional_number("temperature", 0.0..=2.0)?;
        let batch = parameters.flag("batch")?;
        parameters.check_all_read(&PARAMETERS)?;
        parameters.note("model", &model);
        let texts = [("image_size", &size), ("aspect_ratio", &aspect_ratio)];
        for (name, text) in texts {
            if let Some(text) = text {
                parameters.note(name, text);
            }
        }
        if let Some(temperature) = temperature {
            parameters.note("temperature", temperature);
        }
        let share = if batch { self.config.batch.price } else { 1.0 };
        Ok(Prepared {
            price: AnswerPrice {
                image_usd: share * price.image(size.as_deref()),
                no_image_usd: share * price.no_image_usd,
            },
            batch,
            model,
            parameters: parameters.in_force(),
        })
    }

    fn probe(&self, http: &Http, key: &Secret) -> RequestBuilder {
        let url = format!("{}/models/{}", self.config.base(), self.config.model);
        http.get(&url).header(KEY_HEADER, key.expose())
    }

    fn failure(&self, answer: &HttpAnswer) -> Failure {
        wire::failure(answer)
    }

    fn ask<'a>(
        &'a self,
        http: &'a Http,
        spec: &'a Spec,
        prepared: &'a Prepared,
        key: &'a Secret,
    ) -> BoxFuture<'a, Result<Answered, Failure>> {
        Box::pin(async move {
            let body = self.body(spec, prepared);
            let read = wire::ask(http, self.config.base(), &prepared.model, key, &body).await?;
            Ok(answer::image(read).into())
        })
    }

    fn batches(&self) -> Option<&dyn Batches> {
        Some(self)
    }
}
