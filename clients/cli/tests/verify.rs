//! `saga verify`: what it shows, and which files fail.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use saga_imaging::{Rgb, RgbImage, encode_jpeg};
use saga_provenance::{Identity, Snapshot, sign};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a signed image, a changed and an unsigned one, the certificate of the first, and a foreign one.
struct Gallery(TempDir);

impl Gallery {
    fn new() -> Self {
        let gallery = Self(tempfile::tempdir().unwrap());
        let plain = encode_jpeg(&RgbImage::from_pixel(16, 16, Rgb([9, 99, 199])), 90).unwrap();
        let snapshot = Snapshot {
            prompt: "a photo of a fear face".into(),
            backend: "studio".into(),
            source_blake3: "5e".repeat(32),
            ..Snapshot::default()
        };
        for signer in ["own", "foreign"] {
            fs::create_dir(gallery.path(signer)).unwrap();
            Identity::kept_in(&gallery.path(signer)).unwrap();
        }
        let identity = Identity::kept_in(&gallery.path("own")).unwrap();
        let signed = sign(&identity, &plain, &snapshot).unwrap();
        let mut changed = signed.clone();
        let last = changed.len() - 3;
        changed[last] ^= 1;
        fs::write(gallery.path("plain.jpg"), plain).unwrap();
        fs::write(gallery.path("signed.jpg"), signed).unwrap();
        fs::write(gallery.path("changed.jpg"), changed).unwrap();
        gallery
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `saga verify FILES`, with the certificate of this signer if any.
    fn verify(&self, files: &[&str], trust: Option<&str>, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saga"));
        command
            .arg("verify")
            .args(files.iter().map(|file| self.path(file)));
        if let Some(signer) = trust {
            command
                .arg("--trust")
                .arg(self.path(signer).join("provenance.pem"));
        }
        command.args(more).output().unwrap()
    }

    /// Success, and what was found out of one file.
    fn json(&self, file: &str, trust: Option<&str>) -> (bool, Value) {
        let output = self.verify(&[file], trust, &["--json"]);
        let mut rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(rows.len(), 1);
        (output.status.success(), rows.remove(0))
    }
}

#[test]
fn a_signature_holds_and_is_trusted_by_its_certificate_alone() {
    let gallery = Gallery::new();
    for (trust, holds, state) in [
        (None, true, "untrusted"),
        (Some("own"), true, "trusted"),
        (Some("foreign"), false, "untrusted"),
    ] {
        let (success, row) = gallery.json("signed.jpg", trust);
        assert_eq!(
            (success, row["provenance"]["state"].as_str()),
            (holds, Some(state))
        );
    }
}

#[test]
fn changed_and_unsigned_files_fail_and_do_not_hide_the_others() {
    let gallery = Gallery::new();
    let (success, row) = gallery.json("changed.jpg", None);
    let provenance = &row["provenance"];
    assert_eq!(
        (success, provenance["state"].as_str()),
        (false, Some("invalid"))
    );
    assert_eq!(
        provenance["failures"][0]["code"],
        "assertion.dataHash.mismatch"
    );
    let (success, row) = gallery.json("plain.jpg", None);
    let error = row["error"].as_str().unwrap();
    assert!(!success && error.contains("no C2PA manifest"), "{error}");

    let all = gallery.verify(&["none.jpg", "plain.jpg", "signed.jpg"], None, &[]);
    let (told, error) = (
        String::from_utf8(all.stdout).unwrap(),
        String::from_utf8(all.stderr).unwrap(),
    );
    assert_eq!(all.status.code(), Some(1));
    assert!(
        error.contains("2 of 3 files failed verification"),
        "{error}"
    );
    for words in [
        "cannot read",
        "no C2PA manifest",
        "holds, but nothing vouches for the signer",
        "a photo of a fear face",
        "c2pa.edited by studio",
        "digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
        "SAGA, self-signed",
    ] {
        assert!(told.contains(words), "`{words}` is not in: {told}");
    }
}

#[test]
fn a_trust_file_without_certificates_is_named() {
    let gallery = Gallery::new();
    fs::write(gallery.path("foreign/provenance.pem"), "no certificate").unwrap();
    let (success, row) = gallery.json("signed.jpg", Some("foreign"));
    let error = row["error"].as_str().unwrap();
    assert!(
        !success && error.contains("the trust anchor cannot be used"),
        "{error}"
    );
}
