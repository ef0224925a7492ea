//! The priority that a call states in its metadata.

use saga_batching::Priority;
use saga_chassis::status::invalid_argument;
use saga_proto::PRIORITY_KEY;
use tonic::{Status, metadata::MetadataMap};

/// `saga-priority: low` or `normal`; normal where the key is absent.
///
/// # Errors
/// INVALID_ARGUMENT on the key for anything else, so that a misspelt priority is not taken for a normal one.
pub(crate) fn priority(metadata: &MetadataMap) -> Result<Priority, Status> {
    let mut values = metadata.get_all(PRIORITY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(Priority::Normal);
    };
    if values.next().is_some() {
        return Err(invalid("is stated more than once"));
    }
    match value.as_bytes() {
        b"normal" => Ok(Priority::Normal),
        b"low" => Ok(Priority::Low),
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

    fn stated(values: &[&str]) -> Result<Priority, Status> {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append(PRIORITY_KEY, value.parse().unwrap());
        }
        priority(&metadata)
    }

    #[test]
    fn it_is_low_or_normal_and_nothing_else() {
        assert_eq!(stated(&[]).unwrap(), Priority::Normal);
        assert_eq!(stated(&["normal"]).unwrap(), Priority::Normal);
        assert_eq!(stated(&["low"]).unwrap(), Priority::Low);
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
