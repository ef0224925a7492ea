//! Checks of a request that need no decoding, and its translation to domain terms.

use prost::bytes::Bytes;
use saga_imaging::blake3_hex;
use saga_proto::generator::v1::CandidateSpec;
use saga_proto::r#type::v1::Image;

use crate::backend::{Description, Spec};
use crate::config::LimitsConfig;
use crate::error::GenerateError;
use crate::words::Wanted;

/// Bytes of a candidate id or a label.
pub(super) const MAX_NAME_BYTES: usize = 128;

/// A request that `backend` can be given, within the limits.
pub(super) fn check(
    spec: CandidateSpec,
    backend: &Description,
    limits: &LimitsConfig,
) -> Result<Spec, GenerateError> {
    at_most("spec.candidate_id", spec.candidate_id.len(), MAX_NAME_BYTES)?;
    at_most("spec.source_label", spec.source_label.len(), MAX_NAME_BYTES)?;
    at_most("spec.target_label", spec.target_label.len(), MAX_NAME_BYTES)?;
    at_most("spec.prompt", spec.prompt.len(), limits.max_prompt_bytes)?;
    if spec.target_label.is_empty() {
        return Err(GenerateError::invalid(
            "spec.target_label",
            "is empty; name the class the candidate should show",
        ));
    }
    if spec.exemplars.len() > limits.max_exemplars {
        let why = format!(
            "has {} images and the limit is {}; send fewer",
            spec.exemplars.len(),
            limits.max_exemplars
        );
        return Err(GenerateError::invalid("spec.exemplars", why));
    }
    if backend.exemplars > 0 && spec.exemplars.is_empty() {
        let why = format!(
            "is empty; backend '{}' needs real images of class '{}': send {}, at least 1",
            backend.name, spec.target_label, backend.exemplars
        );
        return Err(GenerateError::invalid("spec.exemplars", why));
    }
    let source = spec
        .source
        .map(|image| hashed(image, "spec.source"))
        .transpose()?;
    if backend.needs_source && source.is_none() {
        let why = format!(
            "is missing; backend '{}' edits a source image",
            backend.name
        );
        return Err(GenerateError::invalid("spec.source", why));
    }
    let exemplars = spec.exemplars.into_iter().enumerate();
    let exemplars = exemplars
        .map(|(i, image)| hashed(image, &format!("spec.exemplars[{i}]")).map(|(data, _)| data));
    let (source, source_blake3) = source.unzip();
    Ok(Spec {
        candidate_id: spec.candidate_id,
        source,
        source_blake3: source_blake3.unwrap_or_default(),
        source_label: spec.source_label,
        target_label: spec.target_label,
        prompt: spec.prompt,
        seed: spec.seed,
        exemplars: exemplars.collect::<Result<_, _>>()?,
        parameters: spec.parameters.into_iter().collect(),
        budget: spec.budget,
        words: Wanted::default(),
    })
}

pub(super) fn at_most(field: &str, bytes: usize, limit: usize) -> Result<(), GenerateError> {
    if bytes <= limit {
        return Ok(());
    }
    Err(GenerateError::invalid(
        field,
        format!("has {bytes} bytes and the limit is {limit}; shorten it"),
    ))
}

/// The bytes of an image and their hash, which must be the stated one where one is stated.
pub(super) fn hashed(image: Image, field: &str) -> Result<(Bytes, String), GenerateError> {
    if image.data.is_empty() {
        return Err(GenerateError::invalid(
            format!("{field}.data"),
            "is empty (0 bytes); send the encoded file",
        ));
    }
    let hash = blake3_hex(&image.data);
    if !image.blake3.is_empty() && image.blake3 != hash {
        let why = "does not match the data; the image was damaged on its way, or the field should be left empty";
        return Err(GenerateError::invalid(format!("{field}.blake3"), why));
    }
    Ok((image.data, hash))
}
