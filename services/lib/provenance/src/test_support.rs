//! Pictures and certificates for the tests of this crate.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SignatureAlgorithm,
};

use crate::{Snapshot, identity::parameters};

/// A 32x24 gradient.
pub(crate) fn picture(format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(32, 24, |x, y| Rgb([8 * x as u8, 10 * y as u8, 99]));
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A self-signed certificate and its key, PEM.
pub(crate) fn certificate(
    algorithm: &'static SignatureAlgorithm,
    change: impl Fn(&mut CertificateParams),
) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut certificate = parameters();
    change(&mut certificate);
    let certificate = certificate.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// An authority's certificate, and a chain it issued with its key; all PEM.
pub(crate) fn issued() -> (String, String, String) {
    let mut authority = CertificateParams::default();
    authority
        .distinguished_name
        .push(DnType::CommonName, "an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.use_authority_key_identifier_extension = true;
    let authority_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let leaf = parameters().signed_by(&key, &issuer).unwrap().pem();
    (root.clone(), leaf + &root, key.serialize_pem())
}

/// Of an edit.
pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        run_id: "run".into(),
        candidate_id: "c0ffee".into(),
        label: "fear".into(),
        backend: "studio".into(),
        backend_version: "2".into(),
        prompt: "a photo of a fear face, \"afraid\" <now>".into(),
        seed: u64::MAX,
        parameters: [("strength".into(), "0.8".into())].into(),
        source_blake3: "5e".repeat(32),
        image_blake3: "1a".repeat(32),
        cost_usd: 0.039,
        time: "2026-01-21T10:00:00Z".into(),
    }
}
