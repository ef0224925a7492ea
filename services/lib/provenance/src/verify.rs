//! Verification: who signed a file, whether that still holds, and what the manifest says.

use std::{fmt, io::Cursor};

use c2pa::{
    Context, Manifest, Reader, Relationship, ValidationState,
    assertions::{Actions, SoftwareAgent},
    validation_status::SIGNING_CREDENTIAL_UNTRUSTED,
};
use serde::Serialize;
use serde_json::json;

use crate::{ProvenanceError, SNAPSHOT_LABEL, Snapshot, format, identity, xmp};

/// What holds of a signed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it was signed, by a certificate under the given anchors.
    Trusted,
    /// As it was signed, but nothing vouches for the signer.
    Untrusted,
    /// Changed since it was signed, or signed by what C2PA does not allow.
    Invalid,
}

/// What a file says of itself, and whether it holds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub state: State,
    /// Why the state is invalid.
    pub failures: Vec<Failure>,
    pub signer: Option<Signer>,
    /// In order.
    pub actions: Vec<Action>,
    pub ingredients: Vec<Ingredient>,
    /// `Iptc4xmpExt:DigitalSourceType` of the XMP packet, for tools that do not read C2PA.
    pub xmp_digital_source_type: Option<String>,
    /// `None` where the file is not SAGA's.
    pub snapshot: Option<Snapshot>,
}

/// One check that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// C2PA's status code, for example `assertion.dataHash.mismatch`.
    pub code: String,
    pub explanation: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.explanation, self.code)
    }
}

/// The certificate that signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signer {
    pub common_name: String,
    pub organization: String,
    pub algorithm: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub certificate_sha256: String,
}

/// One step in the making of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    /// For example `c2pa.edited`.
    pub action: String,
    pub digital_source_type: Option<String>,
    pub software: Option<String>,
}

/// What a file was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ingredient {
    pub relationship: String,
    /// For SAGA's sources `blake3:` and the hash.
    pub instance_id: String,
}

/// Reads and checks the provenance of an image file. `anchors` are PEM certificates: authorities whose certificates are
/// trusted, or signers themselves. Without any, nothing is trusted.
///
/// # Errors
/// [`ProvenanceError::NoManifest`] where there is nothing to check, [`ProvenanceError::Unreadable`] where there is but
/// not in one piece, [`ProvenanceError::Identity`] for anchors that are no certificates.
pub fn verify(file: &[u8], anchors: Option<&str>) -> Result<Report, ProvenanceError> {
    let format = format::of(file)?;
    let reader = Reader::from_context(context(anchors)?)
        .with_stream(format.to_mime_type(), Cursor::new(file))
        .map_err(|e| match e {
            c2pa::Error::JumbfNotFound => ProvenanceError::NoManifest,
            e => ProvenanceError::Unreadable(Box::new(e)),
        })?;
    let manifest = reader
        .active_manifest()
        .ok_or(ProvenanceError::NoManifest)?;
    let (state, failures) = match reader.validation_state() {
        ValidationState::Trusted => (State::Trusted, Vec::new()),
        ValidationState::Valid => (State::Untrusted, Vec::new()),
        _ => (State::Invalid, failures(&reader)),
    };
    Ok(Report {
        state,
        failures,
        signer: signer(manifest),
        actions: actions(manifest),
        ingredients: manifest.ingredients().iter().map(ingredient).collect(),
        xmp_digital_source_type: xmp::digital_source_type(file, format)?,
        snapshot: manifest.find_assertion(SNAPSHOT_LABEL).ok(),
    })
}

fn context(anchors: Option<&str>) -> Result<Context, ProvenanceError> {
    let Some(anchors) = anchors else {
        return Ok(Context::new());
    };
    // A self-signed certificate is no authority, but may be trusted itself.
    let trust = json!({ "user_anchors": anchors, "allowed_list": anchors });
    Context::new()
        .with_settings(json!({ "trust": trust }))
        .map_err(|e| ProvenanceError::Identity {
            what: "the trust anchor",
            why: e.to_string(),
        })
}

fn failures(reader: &Reader) -> Vec<Failure> {
    let statuses = reader.validation_results().into_iter().flat_map(|results| {
        let own = results.active_manifest().into_iter();
        let ingredients = results.ingredient_deltas().into_iter().flatten();
        own.chain(ingredients.map(|delta| delta.validation_deltas()))
            .flat_map(|codes| codes.failure())
    });
    statuses
        // Says nothing of the file; the state tells it.
        .filter(|status| status.code() != SIGNING_CREDENTIAL_UNTRUSTED)
        .map(|status| Failure {
            code: status.code().to_owned(),
            explanation: status.explanation().unwrap_or_default().to_owned(),
        })
        .collect()
}

fn signer(manifest: &Manifest) -> Option<Signer> {
    let info = manifest.signature_info()?;
    Some(Signer {
        common_name: info.common_name.clone().unwrap_or_default(),
        organization: info.issuer.clone().unwrap_or_default(),
        algorithm: info.alg.map(|a| a.to_string()).unwrap_or_default(),
        certificate_sha256: identity::fingerprint_of_pem(info.cert_chain()).unwrap_or_default(),
    })
}

fn actions(manifest: &Manifest) -> Vec<Action> {
    let found: Result<Actions, _> = manifest.find_assertion(Actions::LABEL);
    let action = |action: &c2pa::assertions::Action| Action {
        action: action.action().to_owned(),
        digital_source_type: action.source_type().map(ToString::to_string),
        software: action.software_agent().map(software),
    };
    found.map_or_else(
        |_| Vec::new(),
        |found| found.actions().iter().map(action).collect(),
    )
}

fn software(agent: &SoftwareAgent) -> String {
    match agent {
        SoftwareAgent::String(name) => name.clone(),
        SoftwareAgent::ClaimGeneratorInfo(info) => {
            [Some(info.name.as_str()), info.version.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ")
        }
    }
}

fn ingredient(ingredient: &c2pa::Ingredient) -> Ingredient {
    let relationship = match ingredient.relationship() {
        Relationship::ParentOf => "parentOf",
        Relationship::ComponentOf => "componentOf",
        Relationship::InputTo => "inputTo",
    };
    Ingredient {
        relationship: relationship.to_owned(),
        instance_id: ingredient.instance_id().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;
    use img_parts::jpeg::{Jpeg, markers};
    use rcgen::PKCS_ED25519;

    use super::*;
    use crate::{
        COMPOSITE_WITH_TRAINED, Identity, TRAINED, sign,
        test_support::{certificate, issued, picture, snapshot},
    };

    /// A certificate and who signs with it.
    fn identity() -> (String, Identity) {
        let (chain, key) = certificate(&PKCS_ED25519, |_| ());
        let identity = Identity::from_pem(&chain, &key).unwrap();
        (chain, identity)
    }

    #[test]
    fn an_edit_is_signed_and_verified_in_every_format() {
        let (_, identity) = identity();
        for format in [
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::WebP,
            ImageFormat::Gif,
            ImageFormat::Tiff,
        ] {
            let plain = picture(format);
            let signed = sign(&identity, &plain, &snapshot()).unwrap();
            let pixels = |file| image::load_from_memory(file).unwrap();
            assert_eq!(pixels(&signed), pixels(&plain), "{format:?}");
            let report = verify(&signed, None).unwrap();
            assert_eq!(report.failures, [], "{format:?}");
            assert_eq!(report.state, State::Untrusted, "{format:?}");
            assert_eq!(report.snapshot, Some(snapshot()));
        }
    }

    #[test]
    fn an_edit_tells_its_source_and_what_was_done() {
        let (_, identity) = identity();
        let signed = sign(&identity, &picture(ImageFormat::Jpeg), &snapshot()).unwrap();
        let report = verify(&signed, None).unwrap();
        let actions: Vec<_> = report
            .actions
            .iter()
            .map(|a| (a.action.as_str(), a.digital_source_type.as_deref()))
            .collect();
        assert_eq!(
            actions,
            [
                ("c2pa.opened", None),
                ("c2pa.edited", Some(COMPOSITE_WITH_TRAINED))
            ]
        );
        assert_eq!(report.actions[1].software.as_deref(), Some("studio 2"));
        let source = Ingredient {
            relationship: "parentOf".into(),
            instance_id: format!("blake3:{}", snapshot().source_blake3),
        };
        assert_eq!(report.ingredients, [source]);
        assert_eq!(
            report.xmp_digital_source_type.as_deref(),
            Some(COMPOSITE_WITH_TRAINED)
        );
        let signer = report.signer.unwrap();
        assert_eq!(signer.certificate_sha256, identity.fingerprint());
        assert_eq!(signer.common_name, "SAGA, self-signed");
    }

    #[test]
    fn what_has_no_source_was_created() {
        let (_, identity) = identity();
        let snapshot = Snapshot {
            source_blake3: String::new(),
            ..snapshot()
        };
        let signed = sign(&identity, &picture(ImageFormat::Png), &snapshot).unwrap();
        let report = verify(&signed, None).unwrap();
        assert_eq!(report.state, State::Untrusted);
        assert_eq!(report.ingredients, []);
        assert_eq!(report.actions.len(), 1);
        assert_eq!(report.actions[0].action, "c2pa.created");
        assert_eq!(
            report.actions[0].digital_source_type.as_deref(),
            Some(TRAINED)
        );
        assert_eq!(report.xmp_digital_source_type.as_deref(), Some(TRAINED));
    }

    #[test]
    fn signing_again_replaces_the_manifest() {
        let ((first, once), (second, again)) = (identity(), identity());
        let signed = sign(&once, &picture(ImageFormat::Jpeg), &Snapshot::default()).unwrap();
        let signed = sign(&again, &signed, &snapshot()).unwrap();
        let report = verify(&signed, Some(&second)).unwrap();
        assert_eq!(
            (report.state, report.snapshot),
            (State::Trusted, Some(snapshot()))
        );
        assert_eq!(
            verify(&signed, Some(&first)).unwrap().state,
            State::Untrusted
        );
    }

    #[test]
    fn trust_is_what_the_anchors_say() {
        let ((own, identity), (foreign, _)) = (identity(), identity());
        let signed = sign(&identity, &picture(ImageFormat::Jpeg), &snapshot()).unwrap();
        let state = |anchors| verify(&signed, anchors).unwrap().state;
        assert_eq!(state(None), State::Untrusted);
        assert_eq!(state(Some(&foreign)), State::Untrusted);
        assert_eq!(state(Some(&own)), State::Trusted);
        assert!(matches!(
            verify(&signed, Some("no certificate")),
            Err(ProvenanceError::Identity { .. })
        ));
    }

    #[test]
    fn an_authority_vouches_for_the_certificates_it_issued() {
        let (authority, chain, key) = issued();
        let identity = Identity::from_pem(&chain, &key).unwrap();
        let signed = sign(&identity, &picture(ImageFormat::Png), &snapshot()).unwrap();
        let state = |anchors| verify(&signed, anchors).unwrap().state;
        assert_eq!(state(Some(&authority)), State::Trusted);
        assert_eq!(state(Some(&issued().0)), State::Untrusted);
    }

    /// Outside the manifest every byte is covered (each 16th is tried); the manifest itself has padding that means nothing.
    #[test]
    fn one_changed_byte_is_found() {
        let (own, identity) = identity();
        let signed = sign(&identity, &picture(ImageFormat::Jpeg), &snapshot()).unwrap();
        let jpeg = Jpeg::from_bytes(signed.clone().into()).unwrap();
        let mut end = 2;
        let manifest = jpeg.segments().iter().filter_map(|segment| {
            let start = end;
            end += segment.len_with_entropy();
            (segment.marker() == markers::APP11).then_some(start..end)
        });
        let manifest: Vec<_> = manifest.collect();
        let prompt = b"a photo of a fear";
        let prompt = signed.windows(prompt.len()).position(|w| w == prompt);
        let image = (0..signed.len())
            .filter(|at| !manifest.iter().any(|part| part.contains(at)))
            .step_by(16);
        for at in image.chain(prompt) {
            let mut changed = signed.clone();
            changed[at] ^= 1;
            let holds =
                verify(&changed, Some(&own)).is_ok_and(|report| report.state != State::Invalid);
            assert!(!holds, "byte {at} of {}", signed.len());
        }
        assert!(prompt.is_some() && !manifest.is_empty() && end == signed.len());
    }

    #[test]
    fn a_manifest_takes_a_few_kilobytes() {
        let (_, identity) = identity();
        let plain = picture(ImageFormat::Jpeg);
        let signed = sign(&identity, &plain, &snapshot()).unwrap();
        let more = signed.len() - plain.len();
        assert!(more < 6_000, "{more} bytes");
    }

    #[test]
    fn changed_pixels_are_named_as_such() {
        let (own, identity) = identity();
        let mut signed = sign(&identity, &picture(ImageFormat::Jpeg), &snapshot()).unwrap();
        let at = signed.len() - 9;
        signed[at] ^= 1;
        for anchors in [None, Some(own.as_str())] {
            let report = verify(&signed, anchors).unwrap();
            assert_eq!(report.state, State::Invalid);
            let codes: Vec<_> = report.failures.iter().map(|f| f.code.as_str()).collect();
            assert_eq!(codes, ["assertion.dataHash.mismatch"]);
        }
    }

    #[test]
    fn without_a_manifest_there_is_nothing_to_verify() {
        assert!(matches!(
            verify(&picture(ImageFormat::Jpeg), None),
            Err(ProvenanceError::NoManifest)
        ));
        assert!(matches!(
            verify(b"text", None),
            Err(ProvenanceError::NotAnImage)
        ));
        assert!(matches!(
            verify(&picture(ImageFormat::Bmp), None),
            Err(ProvenanceError::Format { .. })
        ));
    }
}
