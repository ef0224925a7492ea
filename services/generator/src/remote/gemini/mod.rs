//! Gemini: edits a source image or makes one of text, over `models/MODEL:generateContent` of its REST API, or, for less and
//! later, over `models/MODEL:batchGenerateContent`.
//!
//! References: <https://ai.google.dev/api/generate-content>, <https://ai.google.dev/api/batch-api>.

mod batches;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::future::BoxFuture;
use prost::bytes::Bytes;
use reqwest::RequestBuilder;
use saga_chassis::InvalidValue;
use serde::{Deserialize, Serialize};

use super::answers::Failure;
use super::backend::{AnswerPrice, Prepared, Remote};
use super::batch::{BatchConfig, Batches};
use super::config::{KeyLimits, Price, check_endpoint, check_prices};
use super::http::Http;
use super::keys::{KeyRing, Secret, Source};
use crate::backend::{Description, Outcome, Spec, Without};
use crate::error::GenerateError;
use crate::parameters::{Parameters, invalid};

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
        check_prices(
            ("gemini.model", &self.model),
            ("gemini.prices", &self.prices),
        )
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

    fn endpoint(&self) -> &str {
        self.config.endpoint.trim_end_matches('/')
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
        let text = wire::Part {
            text: Some(self.instruction(spec)),
            ..wire::Part::default()
        };
        let image = spec.source.as_ref().map(|source| wire::Part {
            inline_data: Some(wire::InlineData {
                mime_type: mime_type(source).to_owned(),
                data: BASE64_STANDARD.encode(source),
            }),
            ..wire::Part::default()
        });
        let setting = |name: &str| prepared.parameters.get(name).cloned();
        let config = wire::ImageConfig {
            aspect_ratio: setting("aspect_ratio"),
            image_size: setting("image_size"),
        };
        wire::Request {
            contents: vec![wire::Content {
                parts: [text].into_iter().chain(image).collect(),
            }],
            generation_config: wire::GenerationConfig {
                response_modalities: vec!["IMAGE".to_owned()],
                // The API takes 31 bits.
                seed: (spec.seed & 0x7fff_ffff) as i32,
                temperature: setting("temperature").and_then(|text| text.parse().ok()),
                image_config: (config != wire::ImageConfig::default()).then_some(config),
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
        let url = format!("{}/models/{}", self.endpoint(), self.config.model);
        http.get(&url).header(KEY_HEADER, key.expose())
    }

    fn ask<'a>(
        &'a self,
        http: &'a Http,
        spec: &'a Spec,
        prepared: &'a Prepared,
        key: &'a Secret,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move {
            let url = format!(
                "{}/models/{}:generateContent",
                self.endpoint(),
                prepared.model
            );
            let request = http
                .post(&url)
                .header(KEY_HEADER, key.expose())
                .json(&self.body(spec, prepared));
            let answer = http.send(request).await?;
            if !answer.status.is_success() {
                return Err(wire::failure(&answer));
            }
            let read = serde_json::from_slice(&answer.body);
            Ok(outcome(read.map_err(|error| answer.unreadable(&error))?))
        })
    }

    fn batches(&self) -> Option<&dyn Batches> {
        Some(self)
    }
}

/// What an answer holds: an image of the answer itself, not of the model's thoughts, or why there is none.
fn outcome(answer: wire::Answer) -> Outcome {
    let Some(candidate) = answer.candidates.into_iter().next() else {
        let feedback = answer.prompt_feedback.unwrap_or_default();
        return match feedback.block_reason {
            Some(reason) => {
                let message = feedback.block_reason_message.unwrap_or_default();
                Outcome::Without(
                    Without::PromptBlock,
                    format!("{reason} {message}").trim().to_owned(),
                )
            }
            None => Outcome::Without(Without::NoImage, "the answer has no candidate".to_owned()),
        };
    };
    let parts = candidate.content.unwrap_or_default().parts;
    let mut parts = parts.into_iter().filter(|part| !part.thought).peekable();
    let mut text = String::new();
    for part in parts.by_ref() {
        if let Some(image) = part.inline_data {
            return match BASE64_STANDARD.decode(&image.data) {
                Ok(data) => Outcome::Image(Bytes::from(data)),
                Err(error) => Outcome::Without(
                    Without::Undecodable,
                    format!("its image is not base64: {error}"),
                ),
            };
        }
        text.push_str(&part.text.unwrap_or_default());
    }
    let reason = candidate.finish_reason.unwrap_or_default();
    let message = [
        reason.as_str(),
        &candidate.finish_message.unwrap_or_default(),
        &text,
    ]
    .into_iter()
    .filter(|part| !part.is_empty())
    .collect::<Vec<_>>()
    .join(": ");
    let why = match reason.as_str() {
        "SAFETY"
        | "IMAGE_SAFETY"
        | "PROHIBITED_CONTENT"
        | "IMAGE_PROHIBITED_CONTENT"
        | "BLOCKLIST"
        | "SPII"
        | "RECITATION"
        | "IMAGE_RECITATION" => Without::SafetyBlock,
        "MAX_TOKENS" => Without::Truncated,
        _ if !text.is_empty() => Without::TextOnly,
        _ => Without::NoImage,
    };
    Outcome::Without(why, message)
}

/// The MIME type of an encoded image by its first bytes; that of JPEG where they say nothing.
fn mime_type(image: &[u8]) -> &'static str {
    image::guess_format(image).map_or("image/jpeg", |format| format.to_mime_type())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Outcome {
        outcome(serde_json::from_str(json).unwrap())
    }

    fn why(json: &str) -> Without {
        match of(json) {
            Outcome::Without(why, _) => why,
            Outcome::Image(_) => panic!("an image"),
        }
    }

    #[test]
    fn every_way_to_lack_an_image_is_told_apart() {
        assert_eq!(
            why(r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"}}"#),
            Without::PromptBlock
        );
        for reason in [
            "SAFETY",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "RECITATION",
        ] {
            let json = format!(r#"{{"candidates":[{{"finishReason":"{reason}"}}]}}"#);
            assert_eq!(why(&json), Without::SafetyBlock);
        }
        assert_eq!(
            why(r#"{"candidates":[{"finishReason":"MAX_TOKENS","content":{"parts":[]}}]}"#),
            Without::Truncated
        );
        assert_eq!(
            why(r#"{"candidates":[{"finishReason":"NO_IMAGE"}]}"#),
            Without::NoImage
        );
        assert_eq!(why(r#"{"candidates":[]}"#), Without::NoImage);
        let text =
            r#"{"candidates":[{"finishReason":"STOP","content":{"parts":[{"text":"I cannot"}]}}]}"#;
        assert_eq!(
            of(text),
            Outcome::Without(Without::TextOnly, "STOP: I cannot".to_owned())
        );
        let broken = r#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"@@"}}]}}]}"#;
        assert_eq!(why(broken), Without::Undecodable);
    }

    #[test]
    fn the_image_is_the_answers_not_the_thoughts() {
        let json = r#"{"candidates":[{"content":{"parts":[
            {"thought":true,"inlineData":{"mimeType":"image/png","data":"AAAA"}},
            {"text":"here it is"},
            {"inlineData":{"mimeType":"image/png","data":"AQID"}}]}}]}"#;
        assert_eq!(of(json), Outcome::Image(Bytes::from_static(&[1, 2, 3])));
    }
}
