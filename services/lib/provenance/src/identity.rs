//! The certificate and key that sign: given ones, or a self-signed pair made once and kept in a folder.

use std::{
    fmt, fs, io,
    io::{Cursor, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use c2pa::{Context, Signer as _, SigningAlg, create_signer};
use image::{ImageFormat, RgbImage};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};
use sha2::{Digest as _, Sha256};

use crate::{ProvenanceError, Snapshot, State, sign, signer::WithoutTimeStamp, verify};

const CERTIFICATE: &str = "provenance.pem";
const KEY: &str = "provenance.key";
/// Common name of the certificates made here.
const SELF_SIGNED: &str = "SAGA, self-signed";

/// Signs with one certificate; threads may share it.
pub struct Identity {
    pub(crate) signer: WithoutTimeStamp,
    pub(crate) context: Arc<Context>,
    fingerprint: String,
    generated: bool,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// From a certificate chain (PEM, the signing certificate first) and its key (PKCS #8 PEM; Ed25519, ECDSA P-256 or
    /// P-384, or RSA).
    ///
    /// # Errors
    /// [`ProvenanceError::Identity`] for other keys, a key of another certificate, and a certificate that the C2PA
    /// specification (14.5) does not allow: expired, a CA, or without the usage of signing documents or e-mail.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, ProvenanceError> {
        Self::new(chain, key, false)
    }

    /// As [`Identity::from_pem`], from files.
    ///
    /// # Errors
    /// As there, and [`ProvenanceError::File`].
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, ProvenanceError> {
        Self::from_pem(&read(chain)?, &read(key)?)
    }

    /// The self-signed identity kept in a folder, made if it is not there. Its key is readable by its owner alone.
    ///
    /// # Errors
    /// [`ProvenanceError::File`], and [`ProvenanceError::Identity`] where somebody else put other files there.
    pub fn kept_in(folder: &Path) -> Result<Self, ProvenanceError> {
        let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
        // The certificate is written last: where it is, the key is whole.
        if !certificate.exists() {
            let (chain, secret) = generate()?;
            write(&key, &secret, 0o600)?;
            write(&certificate, &chain, 0o644)?;
        }
        Self::new(&read(&certificate)?, &read(&key)?, true)
    }

    fn new(chain: &str, key: &str, generated: bool) -> Result<Self, ProvenanceError> {
        let pair = KeyPair::from_pem(key).map_err(|e| unusable("the key", &e))?;
        let algorithm = match pair.algorithm() {
            a if *a == PKCS_ED25519 => SigningAlg::Ed25519,
            a if *a == PKCS_ECDSA_P256_SHA256 => SigningAlg::Es256,
            a if *a == PKCS_ECDSA_P384_SHA384 => SigningAlg::Es384,
            _ => SigningAlg::Ps256,
        };
        let signer = create_signer::from_keys(chain.as_bytes(), key.as_bytes(), algorithm, None)
            .map_err(|e| unusable("the certificate", &e))?;
        let certificates = signer
            .certs()
            .map_err(|e| unusable("the certificate", &e))?;
        let Some(certificate) = certificates.first() else {
            return Err(unusable("the certificate", &"the file holds none"));
        };
        let identity = Self {
            fingerprint: fingerprint(certificate),
            context: Context::new().into_shared(),
            signer: WithoutTimeStamp(signer),
            generated,
        };
        identity.check()?;
        Ok(identity)
    }

    /// Signs a single pixel and verifies it: shows that certificate and key belong together and are allowed now.
    ///
    /// # Errors
    /// [`ProvenanceError::Identity`] with what C2PA objects to.
    pub fn check(&self) -> Result<(), ProvenanceError> {
        let mut pixel = Cursor::new(Vec::new());
        RgbImage::new(1, 1)
            .write_to(&mut pixel, ImageFormat::Png)
            .map_err(|e| unusable("the PNG encoder", &e))?;
        let signed = sign(self, pixel.get_ref(), &Snapshot::default())
            .map_err(|e| unusable("the certificate", &e))?;
        let report = verify(&signed, None)?;
        if report.state == State::Invalid {
            let why: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
            return Err(unusable("the certificate", &why.join("; ")));
        }
        Ok(())
    }

    /// SHA-256 of the signing certificate, in hexadecimal.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether this is a certificate made by [`Identity::kept_in`], which nobody else has a reason to trust.
    pub fn is_generated(&self) -> bool {
        self.generated
    }
}

/// SHA-256 of the first certificate of a chain (PEM), in hexadecimal.
pub(crate) fn fingerprint_of_pem(chain: &str) -> Option<String> {
    let body = chain
        .split("-----BEGIN CERTIFICATE-----")
        .nth(1)?
        .split("-----END")
        .next()?;
    let text: String = body.split_whitespace().collect();
    Some(fingerprint(&STANDARD.decode(text).ok()?))
}

/// SHA-256 of a certificate (DER), in hexadecimal.
fn fingerprint(certificate: &[u8]) -> String {
    Sha256::digest(certificate)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// An Ed25519 key and its certificate.
fn generate() -> Result<(String, String), ProvenanceError> {
    let failed = |e: rcgen::Error| unusable("a certificate of its own", &e);
    let key = KeyPair::generate_for(&PKCS_ED25519).map_err(failed)?;
    let certificate = parameters().self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// What C2PA asks of a signing certificate. It never expires: nothing here asks a time-stamping authority when a file was
/// signed, and without that a signature ends with its certificate.
pub(crate) fn parameters() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let names = &mut parameters.distinguished_name;
    names.push(DnType::CommonName, SELF_SIGNED);
    names.push(DnType::OrganizationName, "SAGA");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

fn unusable(what: &'static str, why: &impl ToString) -> ProvenanceError {
    ProvenanceError::Identity {
        what,
        why: why.to_string(),
    }
}

fn read(path: &Path) -> Result<String, ProvenanceError> {
    fs::read_to_string(path).map_err(|e| file("read", path, e))
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), ProvenanceError> {
    let write = || {
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(mode))
            .tempfile_in(path.parent().unwrap_or(Path::new("/")))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| file("write", path, e))
}

fn file(action: &'static str, path: &Path, source: io::Error) -> ProvenanceError {
    ProvenanceError::File {
        action,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::certificate;

    #[test]
    fn a_folder_keeps_one_identity_and_its_key_to_itself() {
        let folder = tempfile::tempdir().unwrap();
        let made = Identity::kept_in(folder.path()).unwrap();
        let read = Identity::kept_in(folder.path()).unwrap();
        assert!(made.is_generated());
        assert_eq!(made.fingerprint(), read.fingerprint());
        let mode = fs::metadata(folder.path().join(KEY)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_without_its_certificate_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(KEY), "left by a crash").unwrap();
        assert!(Identity::kept_in(folder.path()).is_ok());
    }

    #[test]
    fn every_algorithm_of_the_documentation_signs() {
        for algorithm in [
            &PKCS_ED25519,
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
        ] {
            let (chain, key) = certificate(algorithm, |_| ());
            Identity::from_pem(&chain, &key).unwrap();
        }
    }

    #[test]
    fn what_cannot_sign_is_refused_with_the_reason() {
        let (chain_a, key_a) = certificate(&PKCS_ED25519, |_| ());
        let (_, key_b) = certificate(&PKCS_ED25519, |_| ());
        let refused =
            |chain: &str, key: &str| Identity::from_pem(chain, key).unwrap_err().to_string();
        let other = refused(&chain_a, &key_b);
        assert!(
            other.starts_with("the certificate cannot be used"),
            "{other}"
        );
        let no_key = refused(&chain_a, &chain_a);
        assert!(no_key.starts_with("the key cannot be used"), "{no_key}");
        let none = refused("", &key_a);
        assert!(none.starts_with("the certificate cannot be used"), "{none}");
        let (expired, key) = certificate(&PKCS_ED25519, |c| {
            c.not_after = rcgen::date_time_ymd(2001, 1, 1);
        });
        let expired = refused(&expired, &key);
        assert!(
            expired.starts_with("the certificate cannot be used"),
            "{expired}"
        );
    }
}
