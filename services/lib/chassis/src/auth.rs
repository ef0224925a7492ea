//! Bearer token, where one is configured. Health checks pass without: probes have none.

use std::path::Path;

use tonic::{Request, Status, service::Interceptor};

use crate::server::ServeError;

/// Checks `authorization: Bearer <token>`; without a token everyone may call.
#[derive(Clone, Default)]
pub(crate) struct Auth {
    expected: Option<Vec<u8>>,
}

impl Auth {
    /// Reads the token; surrounding white space does not count.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ServeError> {
        if path.as_os_str().is_empty() {
            return Ok(Self::default());
        }
        let unusable = |why: String| ServeError::File {
            key: "server.token_file",
            path: path.to_owned(),
            why,
        };
        let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
        let token = text.trim();
        if token.is_empty() {
            return Err(unusable("it is empty".to_owned()));
        }
        Ok(Self {
            expected: Some(format!("Bearer {token}").into_bytes()),
        })
    }

    pub(crate) fn is_on(&self) -> bool {
        self.expected.is_some()
    }
}

impl Interceptor for Auth {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(expected) = &self.expected else {
            return Ok(request);
        };
        let given = request
            .metadata()
            .get("authorization")
            .map_or(&[][..], |value| value.as_encoded_bytes());
        if equal_in_constant_time(given, expected) {
            return Ok(request);
        }
        Err(Status::unauthenticated(
            "this server asks for `authorization: Bearer <token>`; the token is missing or wrong",
        ))
    }
}

/// The time taken tells nothing about where two secrets of one length differ.
fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && std::hint::black_box(
            a.iter()
                .zip(b)
                .fold(0, |difference, (a, b)| difference | (a ^ b)),
        ) == 0
}
