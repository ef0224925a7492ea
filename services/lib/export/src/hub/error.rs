//! Why a folder could not be published: each message says what to do about it, none holds the token.

use std::path::{Path, PathBuf};

/// What went wrong on the way to the hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("cannot read {path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} holds no file that could be published")]
    Empty { path: PathBuf },
    #[error("{path} has a name that is not UTF-8; rename it")]
    Name { path: PathBuf },
    #[error("repository {name:?} is not OWNER/NAME of letters, digits, '.', '_' and '-'")]
    Repository { name: String },
    #[error("endpoint {endpoint:?}: {why}")]
    Endpoint { endpoint: String, why: String },
    #[error("access token: {0}")]
    Token(String),
    /// 401.
    #[error(
        "{what}: the hub does not take the token ({message}); make one with the right to write at {endpoint}/settings/tokens"
    )]
    Unauthorized {
        what: &'static str,
        message: String,
        endpoint: String,
    },
    /// 403.
    #[error(
        "{what}: the token may not do this in {repository} ({message}); use one of its owner, with the right to write"
    )]
    Forbidden {
        what: &'static str,
        message: String,
        repository: String,
    },
    /// 409 and 412.
    #[error(
        "{what}: {repository} is being changed by someone else ({message}); run the same command again, nothing that arrived is sent again"
    )]
    Conflict {
        what: &'static str,
        message: String,
        repository: String,
    },
    /// 413.
    #[error(
        "{what}: too large for the hub ({message}); leave files out of the folder, or ask its operator for room"
    )]
    TooLarge { what: &'static str, message: String },
    #[error(
        "{what}: the connection broke {attempts} times ({why}); run the same command again, nothing that arrived is sent again"
    )]
    BrokenOff {
        what: &'static str,
        attempts: u32,
        why: String,
    },
    #[error("{what}: the hub answers {status} ({message})")]
    Refused {
        what: &'static str,
        status: u16,
        message: String,
    },
    #[error("{what}: {why}; is the endpoint a Hugging Face hub?")]
    Unexpected { what: &'static str, why: String },
}

impl HubError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}
