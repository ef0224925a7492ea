//! The answers of both APIs, good and bad.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::stream;
use serde_json::{Value, json};

use crate::fault::Fault;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Gemini,
    OpenAi,
}

/// The answer that this fault, or none, makes of an image.
pub(crate) fn response(
    api: Api,
    fault: Option<Fault>,
    image: impl FnOnce() -> Vec<u8>,
) -> Response {
    let ok = |value: Value| (StatusCode::OK, axum::Json(value)).into_response();
    let good = |image: &str, mime: &str| match api {
        Api::Gemini => finished(
            "STOP",
            json!([{"text": "Here it is."}, {"inlineData": {"mimeType": mime, "data": image}}]),
        ),
        Api::OpenAi => json!({"created": 1, "data": [{"b64_json": image}]}),
    };
    match fault {
        None | Some(Fault::Slow(_)) => ok(good(&BASE64_STANDARD.encode(image()), "image/png")),
        Some(Fault::WrongMime) => ok(good(&BASE64_STANDARD.encode(image()), "image/jpeg")),
        Some(Fault::NotBase64) => ok(good("@@not base64@@", "image/png")),
        Some(Fault::NotAnImage) => ok(good(&BASE64_STANDARD.encode("no image"), "image/png")),
        Some(Fault::NotJson) => (StatusCode::OK, "<html>it works</html>").into_response(),
        Some(Fault::Huge(bytes)) => (StatusCode::OK, vec![b' '; bytes]).into_response(),
        Some(Fault::CutOff) => cut_off(&good(&BASE64_STANDARD.encode(image()), "image/png")),
        Some(Fault::Redirect) => (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, "http://127.0.0.1:9/")],
        )
            .into_response(),
        Some(fault) => match api {
            Api::Gemini => gemini(fault),
            Api::OpenAi => openai(fault),
        },
    }
}

/// Words as the schema asks for them: its first label, and as many comments.
pub(crate) fn words(schema: &Value) -> Response {
    let properties = &schema["properties"];
    let label = &properties["labels"]["items"]["enum"][0];
    let label = label.as_str().unwrap_or("anything");
    let comments = properties["comments"]["minItems"].as_u64().unwrap_or(0);
    let comments: Vec<String> = (0..comments)
        .map(|n| format!("Comment {n} #saga"))
        .collect();
    let words =
        json!({"caption": "Somebody looks at us.", "labels": [label], "comments": comments});
    axum::Json(finished("STOP", json!([{"text": words.to_string()}]))).into_response()
}

fn finished(reason: &str, parts: Value) -> Value {
    json!({
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}],
        "usageMetadata": {"promptTokenCount": 270, "candidatesTokenCount": 1290},
        "modelVersion": "gemini-2.5-flash-image",
    })
}

fn gemini(fault: Fault) -> Response {
    let error = |code: u16, status: &str, message: &str, details: Value| {
        let body = json!({"error": {"code": code, "message": message, "status": status, "details": details}});
        (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response()
    };
    let ok = |value: Value| axum::Json(value).into_response();
    match fault {
        Fault::Quota(time) => {
            let retry = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{}s", time.as_secs_f64())});
            error(
                429,
                "RESOURCE_EXHAUSTED",
                "You exceeded your current quota.",
                json!([retry]),
            )
        }
        Fault::BadKey => {
            let reason = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"});
            error(
                400,
                "INVALID_ARGUMENT",
                "API key not valid.",
                json!([reason]),
            )
        }
        Fault::Rejected => error(
            400,
            "INVALID_ARGUMENT",
            "Unable to process input image.",
            json!([]),
        ),
        Fault::Safety => ok(finished("IMAGE_SAFETY", json!([]))),
        Fault::Prompt => ok(json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})),
        Fault::TextOnly => ok(finished("STOP", json!([{"text": "I cannot edit faces."}]))),
        Fault::NoImage => ok(finished("NO_IMAGE", json!([]))),
        Fault::Truncated => ok(finished("MAX_TOKENS", json!([]))),
        _ => error(503, "UNAVAILABLE", "The model is overloaded.", json!([])),
    }
}

fn openai(fault: Fault) -> Response {
    let error = |status: u16, code: &str, message: &str| {
        let body = json!({"error": {"message": message, "type": "error", "code": code}});
        (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
    };
    match fault {
        Fault::Quota(time) => {
            let mut response = error(429, "rate_limit_exceeded", "Rate limit reached.");
            let seconds = time.as_secs_f64().to_string();
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.parse().unwrap());
            response
        }
        Fault::BadKey => error(401, "invalid_api_key", "Incorrect API key provided."),
        Fault::Rejected => error(400, "invalid_value", "Invalid size."),
        Fault::Safety => error(400, "moderation_blocked", "Rejected by the safety system."),
        Fault::Prompt => error(400, "content_policy_violation", "The prompt was refused."),
        Fault::TextOnly | Fault::NoImage | Fault::Truncated => {
            axum::Json(json!({"data": []})).into_response()
        }
        _ => error(503, "server_error", "Overloaded."),
    }
}

/// Half of the body, then a broken connection.
fn cut_off(value: &Value) -> Response {
    let text = value.to_string();
    let half = Bytes::from(text.as_bytes()[..text.len() / 2].to_vec());
    let broken = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    let body = Body::from_stream(stream::iter([Ok(half), broken]));
    let head = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_LENGTH, text.len().to_string()),
    ];
    (StatusCode::OK, head, body).into_response()
}
