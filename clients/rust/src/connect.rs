//! Channels to a service, and errors that name its address.

use std::{path::PathBuf, time::Duration};

use tonic::{
    service::interceptor::InterceptedService,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::{Priority, propagation::CallContext};

/// A channel that sends the trace context of the current span, and a token where there is one.
pub type Transport = InterceptedService<Channel, CallContext>;

/// How to connect. The default suits a service on the same machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one call may take; `None`: as long as it takes (or the request's own deadline).
    pub call_timeout: Option<Duration>,
    /// Priority of the calls at gates and model services, except of those that state their own.
    pub priority: Priority,
    /// Bearer token.
    pub token: Option<String>,
    /// PEM file of the authority that signed the server's certificate; turns TLS on.
    pub tls_ca: Option<PathBuf>,
    /// PEM files of the client's certificate and key, for mTLS.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            call_timeout: None,
            priority: Priority::Normal,
            token: None,
            tls_ca: None,
            tls_identity: None,
        }
    }
}

impl Options {
    /// Connects to `address`: "http://127.0.0.1:50051", "https://..." or "127.0.0.1:50051".
    ///
    /// # Errors
    /// An address without meaning, unusable TLS files or token, or nobody who listens there.
    pub async fn connect(&self, address: &str) -> Result<Transport, ConnectError> {
        let (endpoint, context) = self.prepare(address)?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| unreachable(address, &error))?;
        Ok(InterceptedService::new(channel, context))
    }

    /// As [`Options::connect`], but connects at the first call, and again whenever the connection is lost.
    ///
    /// # Errors
    /// An address without meaning, unusable TLS files or token.
    pub fn connect_lazy(&self, address: &str) -> Result<Transport, ConnectError> {
        let (endpoint, context) = self.prepare(address)?;
        Ok(InterceptedService::new(endpoint.connect_lazy(), context))
    }

    fn prepare(&self, address: &str) -> Result<(Endpoint, CallContext), ConnectError> {
        let invalid = |why: String| ConnectError::InvalidAddress {
            address: address.to_owned(),
            why,
        };
        let scheme = if self.tls_ca.is_some() {
            "https"
        } else {
            "http"
        };
        let uri = if address.contains("://") {
            address.to_owned()
        } else {
            format!("{scheme}://{address}")
        };
        let mut endpoint =
            Endpoint::from_shared(uri).map_err(|error| invalid(error.to_string()))?;
        if endpoint.uri().port().is_none() {
            return Err(invalid("it has no port".to_owned()));
        }
        endpoint = endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        if let Some(timeout) = self.call_timeout {
            endpoint = endpoint.timeout(timeout);
        }
        if let Some(tls) = self.tls()? {
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| ConnectError::Tls(chain(&error)))?;
        }
        Ok((
            endpoint,
            CallContext::new(self.token.as_deref(), self.priority).map_err(invalid)?,
        ))
    }

    fn tls(&self) -> Result<Option<ClientTlsConfig>, ConnectError> {
        let Some(ca) = &self.tls_ca else {
            return Ok(None);
        };
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem(ca)?));
        if let Some((certificate, key)) = &self.tls_identity {
            tls = tls.identity(Identity::from_pem(pem(certificate)?, pem(key)?));
        }
        Ok(Some(tls))
    }
}

/// Connects with the default [`Options`].
///
/// # Errors
/// An address without meaning, or nobody who listens there.
pub async fn connect(address: &str) -> Result<Transport, ConnectError> {
    Options::default().connect(address).await
}

/// Connects at the first call, with the default [`Options`]. Must be called within the asynchronous runtime.
///
/// # Errors
/// An address without meaning.
pub fn connect_lazy(address: &str) -> Result<Transport, ConnectError> {
    Options::default().connect_lazy(address)
}

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// Not an address.
    #[error("{address:?} is no address of a service: {why}; expected for example 127.0.0.1:50051")]
    InvalidAddress {
        /// As given.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// The connection was refused or timed out.
    #[error(
        "nobody listens on {address} ({why}); is the service started, and is the address right?"
    )]
    Unreachable {
        /// As given.
        address: String,
        /// From the operating system.
        why: String,
    },
    /// Files that cannot be read or are no certificate or key.
    #[error("the TLS files are not usable: {0}")]
    Tls(String),
}

fn pem(path: &std::path::Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|error| ConnectError::Tls(format!("{}: {error}", path.display())))
}

fn unreachable(address: &str, error: &tonic::transport::Error) -> ConnectError {
    ConnectError::Unreachable {
        address: address.to_owned(),
        why: chain(error),
    }
}

/// The innermost cause; the outer ones only say "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}
