//! Signing: a C2PA manifest with actions, source and snapshot, and the digital source type as XMP.

use std::io::Cursor;

use c2pa::Builder;
use serde_json::{Value, json};

use crate::{
    COMPOSITE_WITH_TRAINED, Identity, ProvenanceError, SNAPSHOT_LABEL, Snapshot, TRAINED, format,
    xmp,
};

/// Links the action that opened the source to the ingredient that is the source.
const SOURCE: &str = "source";

/// The bytes of an image file with signed provenance in them; its pixels stay as they are.
///
/// An image with a source was edited: `c2pa.opened` with the source as parent ingredient, named by its BLAKE3 and
/// without a thumbnail, since it may show a person; then `c2pa.edited`. One without was `c2pa.created`. A manifest that is
/// there already gives way.
///
/// # Errors
/// [`ProvenanceError::NotAnImage`], [`ProvenanceError::Format`], [`ProvenanceError::Container`] for what is not an image that
/// can carry a manifest; [`ProvenanceError::Sign`] where the certificate is no longer allowed.
pub fn sign(
    identity: &Identity,
    image: &[u8],
    snapshot: &Snapshot,
) -> Result<Vec<u8>, ProvenanceError> {
    let format = format::of(image)?;
    let source_type = if snapshot.source_blake3.is_empty() {
        TRAINED
    } else {
        COMPOSITE_WITH_TRAINED
    };
    let image = xmp::with_digital_source_type(image, format, source_type)?;
    let mut signed = Cursor::new(Vec::new());
    Builder::from_shared_context(&identity.context)
        .with_definition(manifest(snapshot, source_type))
        .and_then(|mut builder| {
            builder.sign(
                &identity.signer,
                format.to_mime_type(),
                &mut Cursor::new(image),
                &mut signed,
            )
        })
        .map_err(|e| ProvenanceError::Sign(Box::new(e)))?;
    Ok(signed.into_inner())
}

fn manifest(snapshot: &Snapshot, source_type: &str) -> Value {
    let made = |action: &str| {
        json!({
            "action": action,
            "digitalSourceType": source_type,
            "softwareAgent": { "name": snapshot.backend, "version": snapshot.backend_version },
        })
    };
    let (ingredients, actions) = if snapshot.source_blake3.is_empty() {
        (json!([]), json!([made("c2pa.created")]))
    } else {
        let opened =
            json!({ "action": "c2pa.opened", "parameters": { "ingredientIds": [SOURCE] } });
        let source = json!({
            "label": SOURCE,
            "relationship": "parentOf",
            "instance_id": format!("blake3:{}", snapshot.source_blake3),
        });
        (json!([source]), json!([opened, made("c2pa.edited")]))
    };
    json!({
        "claim_generator_info": [{ "name": "SAGA", "version": env!("CARGO_PKG_VERSION") }],
        "ingredients": ingredients,
        "assertions": [
            { "label": "c2pa.actions", "data": { "actions": actions }, "created": true },
            // Not CBOR, whose integers end at 63 bits here: seeds have 64.
            { "label": SNAPSHOT_LABEL, "kind": "Json", "data": snapshot, "created": true },
        ],
    })
}
