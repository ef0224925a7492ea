//! HTTP with limits: how long, how many bytes, and what a status means.

use std::error::Error as _;
use std::time::Duration;

use prost::bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode};

use super::answers::Failure;
use super::config::RemoteConfig;

/// Characters of an unreadable answer that are quoted.
const QUOTED: usize = 200;

/// The client of one backend.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    max_answer_bytes: usize,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

impl Http {
    /// A client under the limits of `config`. It follows no redirects, which would send the key elsewhere.
    ///
    /// # Errors
    /// Where TLS cannot be set up.
    pub fn new(config: &RemoteConfig) -> Result<Self, reqwest::Error> {
        // Whoever came first in this process has chosen; that is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(config.connect_timeout_seconds))
            .timeout(Duration::from_secs(config.timeout_seconds))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("saga/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            client,
            max_answer_bytes: config.max_answer_bytes,
        })
    }

    /// A POST to `url`.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.client.post(url)
    }

    /// A GET of `url`.
    pub fn get(&self, url: &str) -> RequestBuilder {
        self.client.get(url)
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] where no connection comes about; [`Failure::Lost`] where the answer takes too long, breaks
    /// off or is too large.
    pub async fn send(&self, request: RequestBuilder) -> Result<HttpAnswer, Failure> {
        self.send_for(request, 1).await
    }

    /// The same for an answer that holds those of up to `requests` requests.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_for(
        &self,
        request: RequestBuilder,
        requests: usize,
    ) -> Result<HttpAnswer, Failure> {
        let limit = self.max_answer_bytes.saturating_mul(requests);
        let mut answer = request.send().await.map_err(|error| failed(&error))?;
        let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > limit {
                return Err(Failure::Lost(format!(
                    "the answer has more than {limit} bytes; raise remote.max_answer_bytes if that is right"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpAnswer {
            status,
            retry_after,
            body: body.freeze(),
        })
    }
}

impl HttpAnswer {
    /// What an error status means; `message` and `retry_after` are what the body says beyond it.
    pub fn failure(&self, message: &str, retry_after: Option<Duration>) -> Failure {
        let message = if message.is_empty() {
            format!("HTTP {}: {}", self.status.as_u16(), self.quoted())
        } else {
            format!("HTTP {}: {message}", self.status.as_u16())
        };
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => Failure::Limited {
                retry_after: retry_after.or(self.retry_after),
                message,
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::BadKey(message),
            StatusCode::REQUEST_TIMEOUT => Failure::Unavailable(message),
            status if status.is_client_error() => Failure::Rejected(message),
            _ => Failure::Unavailable(message),
        }
    }

    /// An answer of status 200 that cannot be read.
    pub fn unreadable(&self, error: &serde_json::Error) -> Failure {
        Failure::Lost(format!(
            "the answer is not the JSON it should be ({error}): {}",
            self.quoted()
        ))
    }

    fn quoted(&self) -> String {
        String::from_utf8_lossy(&self.body)
            .chars()
            .take(QUOTED)
            .collect()
    }
}

/// `Retry-After` in seconds. Its other form, a date, is used by no server of this kind.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse::<f64>()
        .ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The whole story of a transport error, without its URL.
fn failed(error: &reqwest::Error) -> Failure {
    let mut story = if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "no connection".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        story = format!("{story}: {error}");
        cause = error.source();
    }
    if error.is_connect() {
        Failure::Unavailable(story)
    } else {
        Failure::Lost(story)
    }
}
