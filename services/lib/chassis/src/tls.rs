//! TLS and mTLS from PEM files.

use std::path::Path;

use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::{config::ServerConfig, server::ServeError};

/// What the files of `config` say; `None` where there are none.
pub(crate) fn from_files(config: &ServerConfig) -> Result<Option<ServerTlsConfig>, ServeError> {
    let empty = |path: &Path| path.as_os_str().is_empty();
    match (empty(&config.tls_certificate), empty(&config.tls_key)) {
        (true, true) if empty(&config.tls_client_ca) => return Ok(None),
        (false, false) => {}
        _ => return Err(ServeError::IncompleteTls),
    }
    let certificate = pem("server.tls_certificate", &config.tls_certificate)?;
    let key = pem("server.tls_key", &config.tls_key)?;
    let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    if !empty(&config.tls_client_ca) {
        tls = tls.client_ca_root(Certificate::from_pem(pem(
            "server.tls_client_ca",
            &config.tls_client_ca,
        )?));
    }
    Ok(Some(tls))
}

fn pem(key: &'static str, path: &Path) -> Result<Vec<u8>, ServeError> {
    std::fs::read(path).map_err(|error| ServeError::File {
        key,
        path: path.to_owned(),
        why: error.to_string(),
    })
}
