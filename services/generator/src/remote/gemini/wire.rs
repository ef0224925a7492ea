//! The JSON of `generateContent` and of the API's errors, as far as it is used.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::KEY_HEADER;
use crate::remote::answers::Failure;
use crate::remote::http::{Http, HttpAnswer};
use crate::remote::keys::Secret;
use crate::remote::prepared::AnswerPrice;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) contents: Vec<Content>,
    pub(super) generation_config: GenerationConfig,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Content {
    #[serde(default)]
    pub(super) parts: Vec<Part>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) inline_data: Option<InlineData>,
    /// Whether it shows how the model came to its answer.
    #[serde(default, skip_serializing)]
    pub(super) thought: bool,
}

/// A text and, behind it, an image.
pub(super) fn contents(text: String, image: Option<&[u8]>) -> Vec<Content> {
    let text = Part {
        text: Some(text),
        ..Part::default()
    };
    let image = image.map(|image| Part {
        inline_data: Some(InlineData {
            mime_type: mime_type(image).to_owned(),
            data: BASE64_STANDARD.encode(image),
        }),
        ..Part::default()
    });
    vec![Content {
        parts: [text].into_iter().chain(image).collect(),
    }]
}

/// The MIME type of an encoded image by its first bytes; that of JPEG where they say nothing.
fn mime_type(image: &[u8]) -> &'static str {
    image::guess_format(image).map_or("image/jpeg", |format| format.to_mime_type())
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InlineData {
    pub(super) mime_type: String,
    /// Base64.
    pub(super) data: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GenerationConfig {
    pub(super) response_modalities: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_mime_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_schema: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_config: Option<ImageConfig>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aspect_ratio: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_size: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) candidates: Vec<Candidate>,
    pub(super) prompt_feedback: Option<PromptFeedback>,
    pub(super) usage_metadata: Option<Usage>,
}

/// Tokens; thoughts are paid for as what is said.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Usage {
    pub(super) prompt_token_count: u64,
    pub(super) candidates_token_count: u64,
    pub(super) thoughts_token_count: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    pub(super) content: Option<Content>,
    pub(super) finish_reason: Option<String>,
    pub(super) finish_message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback {
    pub(super) block_reason: Option<String>,
    pub(super) block_reason_message: Option<String>,
}

/// `batchGenerateContent` with its requests inside.
#[derive(Debug, Serialize)]
pub(super) struct BatchRequest {
    batch: Batch,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    model: String,
    display_name: String,
    input_config: InputConfig,
}

#[derive(Debug, Serialize)]
struct InputConfig {
    requests: InlinedRequests,
}

#[derive(Debug, Serialize)]
struct InlinedRequests {
    requests: Vec<BatchEntry>,
}

#[derive(Debug, Serialize)]
pub(super) struct BatchEntry {
    pub(super) request: Request,
    pub(super) metadata: Metadata,
}

/// What the server gives back with the answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Metadata {
    pub(super) key: String,
    #[serde(flatten)]
    pub(super) price: AnswerPrice,
}

impl BatchRequest {
    pub(super) fn new(model: &str, name: &str, requests: Vec<BatchEntry>) -> Self {
        Self {
            batch: Batch {
                model: format!("models/{model}"),
                display_name: name.to_owned(),
                input_config: InputConfig {
                    requests: InlinedRequests { requests },
                },
            },
        }
    }
}

/// A batch at the server.
#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) done: bool,
    #[serde(default)]
    pub(super) metadata: OperationMetadata,
    pub(super) error: Option<ApiError>,
    pub(super) response: Option<BatchOutput>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct OperationMetadata {
    #[serde(default)]
    pub(super) state: String,
}

/// A page of `batches.list`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct List {
    pub(super) operations: Vec<Listed>,
    /// Empty: there are no more.
    pub(super) next_page_token: String,
}

/// A batch of the list; its answers are not read.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) name: String,
    #[serde(default)]
    pub(super) metadata: ListedMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedMetadata {
    #[serde(default)]
    pub(super) display_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchOutput {
    pub(super) inlined_responses: InlinedResponses,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InlinedResponses {
    pub(super) inlined_responses: Vec<InlinedResponse>,
}

#[derive(Debug, Deserialize)]
pub(super) struct InlinedResponse {
    pub(super) metadata: Metadata,
    pub(super) response: Option<Answer>,
    pub(super) error: Option<ApiError>,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    error: ApiError,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    details: Vec<Detail>,
}

/// `google.rpc.ErrorInfo` has a reason, `google.rpc.RetryInfo` a delay like "36.5s".
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    reason: Option<String>,
    retry_delay: Option<String>,
}

/// One `generateContent`.
pub(super) async fn ask(
    http: &Http,
    base: &str,
    model: &str,
    key: &Secret,
    body: &Request,
) -> Result<Answer, Failure> {
    let url = format!("{base}/models/{model}:generateContent");
    let request = http.post(&url).header(KEY_HEADER, key.expose()).json(body);
    let answer = http.send(request).await?;
    if !answer.status.is_success() {
        return Err(failure(&answer));
    }
    serde_json::from_slice(&answer.body).map_err(|error| answer.unreadable(&error))
}

/// What an answer with an error status means.
pub(super) fn failure(answer: &HttpAnswer) -> Failure {
    let ApiError { message, details } = serde_json::from_slice::<ErrorBody>(&answer.body)
        .unwrap_or_default()
        .error;
    // An invalid key is told as status 400.
    if details
        .iter()
        .any(|detail| detail.reason.as_deref() == Some("API_KEY_INVALID"))
    {
        return Failure::BadKey(format!("HTTP {}: {message}", answer.status.as_u16()));
    }
    let delay = details
        .iter()
        .find_map(|detail| seconds(detail.retry_delay.as_deref()?));
    answer.failure(&message, delay)
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;

    fn of(status: StatusCode, body: &'static str) -> Failure {
        failure(&HttpAnswer {
            status,
            retry_after: Some(Duration::from_secs(9)),
            body: body.into(),
        })
    }

    #[test]
    fn errors_are_told_apart() {
        let storm = r#"{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED","details":[
            {"@type":"type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"36.5s"}]}}"#;
        let limited = |retry_after, message: &str| Failure::Limited {
            retry_after: Some(Duration::from_millis(retry_after)),
            message: message.to_owned(),
        };
        assert_eq!(
            of(StatusCode::TOO_MANY_REQUESTS, storm),
            limited(36_500, "HTTP 429: Quota exceeded")
        );
        assert_eq!(
            of(StatusCode::TOO_MANY_REQUESTS, "slow down"),
            limited(9_000, "HTTP 429: slow down")
        );
        let key = r#"{"error":{"message":"API key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}"#;
        assert!(matches!(
            of(StatusCode::BAD_REQUEST, key),
            Failure::BadKey(_)
        ));
        assert!(matches!(
            of(StatusCode::FORBIDDEN, "{}"),
            Failure::BadKey(_)
        ));
        assert!(matches!(
            of(StatusCode::BAD_REQUEST, "{}"),
            Failure::Rejected(_)
        ));
        assert!(matches!(
            of(StatusCode::SERVICE_UNAVAILABLE, "<html>"),
            Failure::Unavailable(_)
        ));
        assert!(matches!(
            of(StatusCode::TEMPORARY_REDIRECT, ""),
            Failure::Unavailable(_)
        ));
    }
}
