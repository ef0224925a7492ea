//! Gemini's text models: words about an image, as JSON of a schema that is sent along.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use reqwest::RequestBuilder;
use saga_chassis::InvalidValue;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{GeminiConfig, KEY_HEADER, answer, wire};
use crate::backend::{Description, Spec};
use crate::error::GenerateError;
use crate::parameters::{Parameters, invalid};
use crate::remote::answers::{Answered, Failure};
use crate::remote::backend::Remote;
use crate::remote::http::{Http, HttpAnswer};
use crate::remote::keys::Secret;
use crate::remote::prepared::{AnswerPrice, Prepared};
use crate::words::Wanted;

/// More tokens than an image takes.
const IMAGE_TOKENS: f64 = 2_600.0;
/// Prices are told for so many tokens.
const MILLION: f64 = 1e6;

/// The `[gemini.text]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    pub model: String,
    /// What is asked; holds `{prompt}`.
    pub instruction: String,
    /// Of one answer, the model's thoughts included.
    pub max_output_tokens: u32,
    pub prices: BTreeMap<String, TokenPrice>,
}

/// US dollars for a million tokens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPrice {
    pub input_usd: f64,
    pub output_usd: f64,
}

impl TextConfig {
    /// Whether every value can be used.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), InvalidValue> {
        let tokens = self.max_output_tokens;
        InvalidValue::unless_within("gemini.text.max_output_tokens", tokens, 1..=1_000_000)?;
        if !self.prices.contains_key(&self.model) {
            let model = &self.model;
            let why =
                format!("is '{model}', which has no price; add [gemini.text.prices.\"{model}\"]");
            return Err(InvalidValue::new("gemini.text.model", why));
        }
        let prices = self.prices.values();
        for usd in prices.flat_map(|price| [price.input_usd, price.output_usd]) {
            if !usd.is_finite() || usd < 0.0 {
                let why = format!("holds {usd}; a price is a number of at least 0");
                return Err(InvalidValue::new("gemini.text.prices", why));
            }
        }
        Ok(())
    }
}

impl TokenPrice {
    fn of(&self, usage: wire::Usage) -> f64 {
        let output = usage.candidates_token_count + usage.thoughts_token_count;
        (usage.prompt_token_count as f64 * self.input_usd + output as f64 * self.output_usd)
            / MILLION
    }

    /// Of any answer to a prompt of so many bytes, at most: no token is shorter than a byte.
    fn most(&self, bytes: usize, max_output_tokens: u32) -> f64 {
        let input = IMAGE_TOKENS + bytes as f64;
        (input * self.input_usd + f64::from(max_output_tokens) * self.output_usd) / MILLION
    }
}

/// The backend named `gemini-text`.
pub struct GeminiText {
    config: GeminiConfig,
}

impl GeminiText {
    /// Asks the configured endpoint.
    pub fn new(config: GeminiConfig) -> Self {
        Self { config }
    }

    fn price(&self, model: &str) -> Result<TokenPrice, GenerateError> {
        let prices = &self.config.text.prices;
        prices.get(model).copied().ok_or_else(|| {
            let known: Vec<&str> = prices.keys().map(String::as_str).collect();
            let why = format!(
                "is '{model}', which has no price; there are prices of {}, others go into gemini.text.prices",
                known.join(", ")
            );
            invalid("model", why)
        })
    }

    fn instruction(&self, spec: &Spec) -> String {
        let template = &self.config.text.instruction;
        template.replace("{prompt}", &spec.prompt).trim().to_owned()
    }

    fn body(&self, spec: &Spec, prepared: &Prepared) -> wire::Request {
        let temperature = prepared.parameters.get("temperature");
        wire::Request {
            contents: wire::contents(self.instruction(spec), spec.source.as_deref()),
            generation_config: wire::GenerationConfig {
                response_modalities: vec!["TEXT".to_owned()],
                max_output_tokens: Some(self.config.text.max_output_tokens),
                response_mime_type: Some("application/json".to_owned()),
                response_schema: Some(schema(&spec.words)),
                temperature: temperature.and_then(|text| text.parse().ok()),
                ..wire::GenerationConfig::default()
            },
        }
    }
}

impl Remote for GeminiText {
    fn describe(&self) -> Description {
        let text = &self.config.text;
        let price = text.prices.get(&text.model);
        Description {
            name: "gemini-text",
            description: "Asks Google's Gemini for a caption, labels and comments of an image.",
            version: text.model.clone(),
            needs_source: true,
            exemplars: 0,
            deterministic: false,
            cost_usd: price.map_or(0.0, |price| price.most(0, text.max_output_tokens)),
            batch_cost_usd: None,
        }
    }

    fn prepare(&self, spec: &Spec) -> Result<Prepared, GenerateError> {
        let mut parameters = Parameters::new(spec.parameters.clone());
        let text = &self.config.text;
        let model = parameters
            .text("model")
            .unwrap_or_else(|| text.model.clone());
        let temperature = parameters.optional_number("temperature", 0.0..=2.0)?;
        parameters.check_all_read(&["model", "temperature"])?;
        let bytes =
            self.instruction(spec).len() + spec.words.labels.iter().map(String::len).sum::<usize>();
        let most = self.price(&model)?.most(bytes, text.max_output_tokens);
        parameters.note("model", &model);
        if let Some(temperature) = temperature {
            parameters.note("temperature", temperature);
        }
        parameters.note("labels", json!(spec.words.labels));
        parameters.note("comments", spec.words.comments);
        Ok(Prepared {
            model,
            price: AnswerPrice {
                image_usd: most,
                no_image_usd: most,
            },
            batch: false,
            parameters: parameters.in_force(),
        })
    }

    fn probe(&self, http: &Http, key: &Secret) -> RequestBuilder {
        let url = format!("{}/models/{}", self.config.base(), self.config.text.model);
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
            let price = self.config.text.prices.get(&prepared.model);
            let cost_usd = price
                .zip(read.usage_metadata)
                .map(|(price, usage)| price.of(usage));
            Ok(Answered {
                outcome: answer::words(read, &spec.words),
                cost_usd,
            })
        })
    }
}

/// The schema of [`crate::words::Words`], in the API's dialect of OpenAPI.
fn schema(wanted: &Wanted) -> Value {
    let mut label = json!({"type": "STRING"});
    if !wanted.labels.is_empty() {
        label["enum"] = json!(wanted.labels);
    }
    let comments = wanted.comments;
    json!({
        "type": "OBJECT",
        "properties": {
            "caption": {"type": "STRING", "description": "One sentence that says what the image shows."},
            "labels": {"type": "ARRAY", "items": label},
            "comments": {
                "type": "ARRAY", "items": {"type": "STRING"}, "minItems": comments, "maxItems": comments,
                "description": "Comments as people write them below such an image, with hashtags and emoji.",
            },
        },
        "required": ["caption", "labels", "comments"],
    })
}
