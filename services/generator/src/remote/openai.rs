//! Any server that speaks OpenAI's images API: `POST /images/edits` with the source as a form, `POST /images/generations`
//! without one.
//!
//! Reference: <https://platform.openai.com/docs/api-reference/images>.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::future::BoxFuture;
use prost::bytes::Bytes;
use reqwest::RequestBuilder;
use reqwest::multipart::{Form, Part};
use saga_chassis::InvalidValue;
use serde::{Deserialize, Serialize};

use super::answers::{Answered, Failure};
use super::backend::Remote;
use super::config::{KeyLimits, Price, check_endpoint, check_prices};
use super::http::{Http, HttpAnswer};
use super::keys::{KeyRing, Secret, Source};
use super::prepared::{AnswerPrice, Prepared};
use crate::backend::{Description, Outcome, Spec, Without};
use crate::error::GenerateError;
use crate::parameters::Parameters;

const PARAMETERS: [&str; 1] = ["size"];

/// The `[openai]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Up to and with the API's version; empty: no such backend.
    pub endpoint: String,
    pub model: String,
    /// Width x height; empty: the server's own choice.
    pub size: String,
    /// Whether to ask for `response_format = "b64_json"`.
    pub ask_for_base64: bool,
    /// Whether to send `seed`.
    pub send_seed: bool,
    /// Empty: the server asks for no key.
    pub keys_file: PathBuf,
    pub prices: BTreeMap<String, Price>,
}

impl OpenAiConfig {
    /// Whether there is such a backend.
    pub fn is_on(&self) -> bool {
        !self.endpoint.is_empty()
    }

    /// Whether every value can be used.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), InvalidValue> {
        if !self.is_on() {
            return Ok(());
        }
        check_endpoint("openai.endpoint", &self.endpoint)?;
        check_prices(
            ("openai.model", &self.model),
            ("openai.prices", &self.prices),
        )
    }

    /// The keys there are.
    pub fn keys(&self) -> KeyRing {
        let source = Source::file_or(&self.keys_file, Source::Nobody);
        KeyRing::new(source, KeyLimits::default())
    }
}

/// The backend named `openai`.
pub struct OpenAi {
    config: OpenAiConfig,
}

#[derive(Serialize)]
struct Generation<'a> {
    model: &'a str,
    prompt: &'a str,
    n: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    b64_json: Option<String>,
}

#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    error: ApiError,
}

#[derive(Default, Deserialize)]
struct ApiError {
    #[serde(default)]
    message: String,
    code: Option<String>,
}

impl OpenAi {
    /// Asks the configured endpoint.
    pub fn new(config: OpenAiConfig) -> Self {
        Self { config }
    }

    fn generation<'a>(&'a self, spec: &'a Spec, prepared: &'a Prepared) -> Generation<'a> {
        Generation {
            model: &prepared.model,
            prompt: &spec.prompt,
            n: 1,
            size: prepared.parameters.get("size").map(String::as_str),
            response_format: self.config.ask_for_base64.then_some("b64_json"),
            // Servers keep it in 32 or 64 signed bits.
            seed: self.config.send_seed.then_some(spec.seed & 0x7fff_ffff),
        }
    }

    fn endpoint(&self) -> &str {
        self.config.endpoint.trim_end_matches('/')
    }

    fn price(&self) -> Option<&Price> {
        self.config.prices.get(&self.config.model)
    }
}

/// The same as a form, with the image that is edited.
fn form(generation: &Generation<'_>, source: &Bytes) -> Form {
    let format = image::guess_format(source).unwrap_or(image::ImageFormat::Jpeg);
    let extension = format.extensions_str().first().unwrap_or(&"jpg");
    let part = Part::stream(source.clone()).file_name(format!("source.{extension}"));
    let part = part.headers(
        [(
            reqwest::header::CONTENT_TYPE,
            reqwest::header::HeaderValue::from_static(format.to_mime_type()),
        )]
        .into_iter()
        .collect(),
    );
    let texts = [
        ("model", Some(generation.model.to_owned())),
        ("prompt", Some(generation.prompt.to_owned())),
        ("n", Some(generation.n.to_string())),
        ("size", generation.size.map(str::to_owned)),
        (
            "response_format",
            generation.response_format.map(str::to_owned),
        ),
        ("seed", generation.seed.map(|seed| seed.to_string())),
    ];
    texts
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
        .fold(Form::new().part("image", part), |form, (name, text)| {
            form.text(name, text)
        })
}

impl Remote for OpenAi {
    fn describe(&self) -> Description {
        Description {
            name: "openai",
            description: "Asks a server of OpenAI's images API to edit the source image, or to make one of the prompt alone.",
            version: self.config.model.clone(),
            needs_source: false,
            exemplars: 0,
            deterministic: false,
            cost_usd: self.price().map_or(0.0, |price| price.image(None)),
            batch_cost_usd: None,
        }
    }

    fn prepare(&self, spec: &Spec) -> Result<Prepared, GenerateError> {
        let mut parameters = Parameters::new(spec.parameters.clone());
        let size = parameters
            .text("size")
            .unwrap_or_else(|| self.config.size.clone());
        parameters.check_all_read(&PARAMETERS)?;
        parameters.note("model", &self.config.model);
        if !size.is_empty() {
            parameters.note("size", &size);
        }
        let price = self.price();
        Ok(Prepared {
            model: self.config.model.clone(),
            price: AnswerPrice {
                image_usd: price.map_or(0.0, |price| price.image(Some(&size))),
                no_image_usd: price.map_or(0.0, |price| price.no_image_usd),
            },
            batch: false,
            parameters: parameters.in_force(),
        })
    }

    fn probe(&self, http: &Http, key: &Secret) -> RequestBuilder {
        authorised(http.get(&format!("{}/models", self.endpoint())), key)
    }

    fn failure(&self, answer: &HttpAnswer) -> Failure {
        failure(answer, &api_error(answer))
    }

    fn ask<'a>(
        &'a self,
        http: &'a Http,
        spec: &'a Spec,
        prepared: &'a Prepared,
        key: &'a Secret,
    ) -> BoxFuture<'a, Result<Answered, Failure>> {
        Box::pin(async move {
            let endpoint = self.endpoint();
            let generation = self.generation(spec, prepared);
            let request = match &spec.source {
                Some(source) => http
                    .post(&format!("{endpoint}/images/edits"))
                    .multipart(form(&generation, source)),
                None => http
                    .post(&format!("{endpoint}/images/generations"))
                    .json(&generation),
            };
            let answer = http.send(authorised(request, key)).await?;
            if !answer.status.is_success() {
                return refusal(&answer).map(Answered::from);
            }
            let read = serde_json::from_slice(&answer.body);
            let read = read.map_err(|error| answer.unreadable(&error))?;
            Ok(outcome(read).into())
        })
    }
}

/// With the key, where there is one.
fn authorised(request: RequestBuilder, key: &Secret) -> RequestBuilder {
    match key.expose() {
        "" => request,
        secret => request.bearer_auth(secret),
    }
}

fn outcome(answer: Answer) -> Outcome {
    let without = |why, message: &str| Outcome::Without(why, message.to_owned());
    let Some(image) = answer.data.into_iter().next() else {
        return without(Without::NoImage, "the answer has no data");
    };
    let Some(text) = image.b64_json else {
        let why =
            "the answer holds an address instead of the image; set openai.ask_for_base64 = true";
        return without(Without::NoImage, why);
    };
    match BASE64_STANDARD.decode(&text) {
        Ok(data) => Outcome::Image(Bytes::from(data)),
        Err(error) => without(
            Without::Undecodable,
            &format!("its image is not base64: {error}"),
        ),
    }
}

/// The outcome of an error status that is an answer: the server refuses this content.
fn refusal(answer: &HttpAnswer) -> Result<Outcome, Failure> {
    let error = api_error(answer);
    match error.code.as_deref() {
        Some("moderation_blocked") => Ok(Outcome::Without(Without::SafetyBlock, error.message)),
        Some("content_policy_violation") => {
            Ok(Outcome::Without(Without::PromptBlock, error.message))
        }
        _ => Err(failure(answer, &error)),
    }
}

fn api_error(answer: &HttpAnswer) -> ApiError {
    let body: ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
    body.error
}

fn failure(answer: &HttpAnswer, ApiError { message, code }: &ApiError) -> Failure {
    match code.as_deref() {
        // Told as status 429, but no time brings it back.
        Some("insufficient_quota") => Failure::BadKey(message.clone()),
        _ => answer.failure(message, None),
    }
}
