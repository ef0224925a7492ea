//! The priority that a call states in its metadata.

use saga_proto::PRIORITY_KEY;
use tonic::{Status, metadata::MetadataMap};

use crate::status::invalid_argument;

/// Whether `saga-priority` says low; it may say normal, and be absent.
///
/// # Errors
/// INVALID_ARGUMENT on the key for anything else, so that a misspelt priority is not taken for a normal one.
pub fn is_low(metadata: &MetadataMap) -> Result<bool, Status> {
    let mut values = metadata.get_all(PRIORITY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(false);
    };
    if values.next().is_some() {
        return Err(invalid("is stated more than once"));
    }
    match value.as_bytes() {
        b"normal" => Ok(false),
        b"low" => Ok(true),
        _ => Err(invalid(&format!("is {value:?}"))),
    }
}

fn invalid(what: &str) -> Status {
    invalid_argument(
        PRIORITY_KEY,
        format!("{what}; state it once, as low or normal"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(values: &[&str]) -> Result<bool, Status> {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append(PRIORITY_KEY, value.parse().unwrap());
        }
        is_low(&metadata)
    }

    #[test]
    fn it_is_low_or_normal_and_nothing_else() {
        assert!(!stated(&[]).unwrap());
        assert!(!stated(&["normal"]).unwrap());
        assert!(stated(&["low"]).unwrap());
        for refused in [&["high"][..], &["LOW"], &[""], &["low", "low"]] {
            let status = stated(refused).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(
                status.message().starts_with("saga-priority: is ")
                    && status.message().ends_with("low or normal"),
                "{status}"
            );
        }
    }
}
