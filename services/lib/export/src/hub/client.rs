//! Requests with limits: what is repeated, and what a status means. The token goes to the endpoint alone.

use super::Options;
use super::error::HubError;
use super::protocol::CommitLine;
use prost::bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How often a request is sent before it is given up.
const ATTEMPTS: u32 = 4;
/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(10);
/// Between two signs of life. An upload of any size may take longer as a whole.
const SILENCE: Duration = Duration::from_secs(120);
/// Of an answer; more is no answer of the hub's.
const MOST_BYTES: usize = 16 << 20;
/// Characters of a message that are quoted.
const QUOTED: usize = 300;
const LFS: &str = "application/vnd.git-lfs+json";

/// The connection to one hub.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    options: Options,
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) etag: Option<String>,
    message: Option<String>,
    body: Vec<u8>,
}

impl Client {
    /// # Errors
    /// [`HubError::Endpoint`] for an address that is none.
    pub(super) fn new(options: &Options) -> Result<Self, HubError> {
        let wrong = |why: String| HubError::Endpoint {
            endpoint: options.endpoint.clone(),
            why,
        };
        let endpoint = Url::parse(options.endpoint.trim_end_matches('/'));
        let endpoint = endpoint.map_err(|error| wrong(format!("{error}; write https://HOST")))?;
        let is_local = matches!(
            endpoint.host_str(),
            Some("localhost" | "127.0.0.1" | "[::1]")
        );
        if endpoint.scheme() != "https" && !is_local {
            return Err(wrong(
                "must begin with https://, or others could read the token".to_owned(),
            ));
        }
        // Whoever came first in this process has chosen; that is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("saga/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            http,
            endpoint,
            options: options.clone(),
        })
    }

    pub(super) async fn get(&self, what: &'static str, path: &str) -> Result<Answer, HubError> {
        let address = self.address(path);
        self.repeated(what, async || Ok(self.ours(self.http.get(&address))))
            .await
    }

    pub(super) async fn post(
        &self,
        what: &'static str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer, HubError> {
        let address = self.address(path);
        self.repeated(what, async || {
            Ok(self.ours(self.http.post(&address).json(body)))
        })
        .await
    }

    /// JSON, a line an item.
    pub(super) async fn post_lines(
        &self,
        what: &'static str,
        path: &str,
        lines: &[CommitLine<'_>],
    ) -> Result<Answer, HubError> {
        let mut body = Vec::new();
        for line in lines {
            let written = serde_json::to_writer(&mut body, line);
            written.map_err(|error| HubError::Unexpected {
                what,
                why: error.to_string(),
            })?;
            body.push(b'\n');
        }
        let (address, body) = (self.address(path), Bytes::from(body));
        let request = async || {
            let request = self
                .http
                .post(&address)
                .header(CONTENT_TYPE, "application/x-ndjson");
            Ok(self.ours(request.body(body.clone())))
        };
        self.repeated(what, request).await
    }

    /// A message of git LFS to an address that the hub gave, which must be its own.
    pub(super) async fn post_lfs(
        &self,
        what: &'static str,
        href: &str,
        body: &impl Serialize,
    ) -> Result<Answer, HubError> {
        let address = self
            .endpoint
            .join(href)
            .map_err(|error| unexpected(what, &error))?;
        let is_own = address.origin() == self.endpoint.origin();
        let request = async || {
            let request = self.http.post(address.clone()).header(ACCEPT, LFS);
            let request = request.header(CONTENT_TYPE, LFS).json(body);
            // An address elsewhere carries its own permission, and the token is none of its business.
            Ok(if is_own { self.ours(request) } else { request })
        };
        self.repeated(what, request).await
    }

    /// Bytes to an address that carries its own permission: without the token.
    pub(super) async fn put(
        &self,
        what: &'static str,
        href: &str,
        headers: &[(&str, &str)],
        body: impl AsyncFn() -> Result<(Body, u64), HubError>,
    ) -> Result<Answer, HubError> {
        let address = self
            .endpoint
            .join(href)
            .map_err(|error| unexpected(what, &error))?;
        let request = async || {
            let (body, size) = body().await?;
            let request = self.http.put(address.clone()).header(CONTENT_LENGTH, size);
            let request = headers.iter().fold(request, |request, (name, value)| {
                request.header(*name, *value)
            });
            Ok(request.body(body))
        };
        self.repeated(what, request).await
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint.as_str().trim_end_matches('/'))
    }

    fn ours(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.options.token.expose())
    }

    /// Sends a request until it has an answer that is the hub's last word.
    async fn repeated(
        &self,
        what: &'static str,
        request: impl AsyncFn() -> Result<RequestBuilder, HubError>,
    ) -> Result<Answer, HubError> {
        let mut wait = self.options.retry_after;
        let mut attempt = 1;
        loop {
            let why = match whole(request().await?).await {
                Ok(answer) if !answer.passes() => return Ok(answer),
                Ok(answer) => format!("the hub answers {}", answer.status.as_u16()),
                Err(why) => why,
            };
            if attempt == ATTEMPTS {
                return Err(HubError::BrokenOff {
                    what,
                    attempts: ATTEMPTS,
                    why,
                });
            }
            tracing::debug!(what, why, "sent again");
            tokio::time::sleep(wait).await;
            wait *= 2;
            attempt += 1;
        }
    }
}

fn unexpected(what: &'static str, why: &impl ToString) -> HubError {
    HubError::Unexpected {
        what,
        why: why.to_string(),
    }
}

/// Sends a request and reads the whole answer.
async fn whole(request: RequestBuilder) -> Result<Answer, String> {
    let mut answer = request.send().await.map_err(story)?;
    let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
    let (etag, message) = (header("etag"), header("x-error-message"));
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(story)? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(format!("an answer of more than {MOST_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status,
        etag,
        message,
        body,
    })
}

/// The whole story of a transport error, without its address, which may carry a permission.
fn story(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut story = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        story = format!("{story}: {error}");
        cause = error.source();
    }
    story
}

impl Answer {
    /// Whether the same request may be answered otherwise soon.
    fn passes(&self) -> bool {
        let status = self.status;
        status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT
    }

    /// What a good answer says.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        what: &'static str,
        options: &Options,
    ) -> Result<T, HubError> {
        self.check(what, options)?;
        serde_json::from_slice(&self.body)
            .map_err(|error| unexpected(what, &format!("the answer cannot be read: {error}")))
    }

    /// Whether it is a good answer.
    pub(super) fn check(&self, what: &'static str, options: &Options) -> Result<(), HubError> {
        match self.status.is_success() {
            true => Ok(()),
            false => Err(self.failure(what, options)),
        }
    }

    /// What a bad answer means.
    pub(super) fn failure(&self, what: &'static str, options: &Options) -> HubError {
        let message = self.message();
        let repository = options.repository.clone();
        match self.status {
            StatusCode::UNAUTHORIZED => HubError::Unauthorized {
                what,
                message,
                endpoint: options.endpoint.trim_end_matches('/').to_owned(),
            },
            StatusCode::FORBIDDEN => HubError::Forbidden {
                what,
                message,
                repository,
            },
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => HubError::Conflict {
                what,
                message,
                repository,
            },
            StatusCode::PAYLOAD_TOO_LARGE => HubError::TooLarge { what, message },
            status => HubError::Refused {
                what,
                status: status.as_u16(),
                message,
            },
        }
    }

    /// The hub's own words: a header, or `error` in the body, or the body.
    fn message(&self) -> String {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        let json: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let told = json
            .as_ref()
            .and_then(|json| json.get("error")?.as_str())
            .map(str::to_owned);
        let message = self.message.clone().or(told).unwrap_or_else(text);
        let plain = message
            .chars()
            .filter(|c| !c.is_control())
            .take(QUOTED)
            .collect::<String>();
        match plain.is_empty() {
            true => format!("HTTP {}", self.status.as_u16()),
            false => plain,
        }
    }
}
