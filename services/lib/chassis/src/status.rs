//! Errors as gRPC statuses with the standard details, so that clients can act on them without reading English.
//!
//! | helper | code | details |
//! |---|---|---|
//! | [`invalid_argument`] | INVALID_ARGUMENT | BadRequest with the field |
//! | [`not_found`], [`already_exists`], [`failed_precondition`], [`permission_denied`], [`unavailable`], [`internal`] | as named | ErrorInfo with a stable reason |
//! | [`resource_exhausted`] | RESOURCE_EXHAUSTED | RetryInfo |
//! | [`quota_exhausted`] | RESOURCE_EXHAUSTED | ErrorInfo with a stable reason, RetryInfo |

use std::{collections::HashMap, time::Duration};

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// `domain` of every ErrorInfo.
pub const DOMAIN: &str = "saga";

/// Longest message in bytes. A status travels in headers, its message once plain and twice in the details, and some clients
/// take 8 KiB of headers.
const MAX_MESSAGE: usize = 1_200;

/// Messages quote what was sent and list what is known, which may be of any length.
fn shortened(message: impl Into<String>) -> String {
    let mut message = message.into();
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    message
}

/// Bad input: `field` as in the proto ("item.source.data"), `why` with the limit and what to do.
pub fn invalid_argument(field: impl Into<String>, why: impl Into<String>) -> Status {
    let (field, why) = (field.into(), shortened(why));
    let message = format!("{field}: {why}");
    Status::with_error_details(
        Code::InvalidArgument,
        message,
        ErrorDetails::with_bad_request_violation(field, why),
    )
}

/// The system is not in the state the call needs; `reason` is a stable upper-case word.
pub fn failed_precondition(reason: &str, message: impl Into<String>) -> Status {
    with_reason(Code::FailedPrecondition, reason, message)
}

/// Something named in the request does not exist.
pub fn not_found(reason: &str, message: impl Into<String>) -> Status {
    with_reason(Code::NotFound, reason, message)
}

/// Something of that name exists with other contents.
pub fn already_exists(reason: &str, message: impl Into<String>) -> Status {
    with_reason(Code::AlreadyExists, reason, message)
}

/// The call is never allowed.
pub fn permission_denied(reason: &str, message: impl Into<String>) -> Status {
    with_reason(Code::PermissionDenied, reason, message)
}

/// Something this service depends on cannot be reached now.
pub fn unavailable(reason: &str, message: impl Into<String>) -> Status {
    with_reason(Code::Unavailable, reason, message)
}

/// A fault of the service itself.
pub fn internal(reason: &str, message: impl Into<String>) -> Status {
    with_reason(Code::Internal, reason, message)
}

/// No room now; try again after `retry_after`.
pub fn resource_exhausted(message: impl Into<String>, retry_after: Duration) -> Status {
    Status::with_error_details(
        Code::ResourceExhausted,
        message,
        ErrorDetails::with_retry_info(Some(retry_after)),
    )
}

/// No quota left; it is back after `retry_after`, which may be hours.
pub fn quota_exhausted(reason: &str, message: impl Into<String>, retry_after: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(Code::ResourceExhausted, shortened(message), details)
}

fn with_reason(code: Code, reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(
        code,
        shortened(message),
        ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()),
    )
}

/// The stable reason of a status, where it has one.
#[must_use]
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// The error of one item of a stream.
#[must_use]
pub fn item(status: &Status) -> tonic_types::Status {
    let plain = || tonic_types::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: Vec::new(),
    };
    match status.details() {
        [] => plain(),
        details => tonic_types::Status::decode(details).unwrap_or_else(|_| plain()),
    }
}

/// The inverse of [`item`].
#[must_use]
pub fn from_item(item: &tonic_types::Status) -> Status {
    Status::with_details(
        Code::from(item.code),
        item.message.clone(),
        item.encode_to_vec().into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_survive_the_way_through_a_stream_item() {
        let status = failed_precondition("MODEL_NOT_LOADED", "no model is loaded; call LoadModel");
        let back = from_item(&item(&status));
        assert_eq!(back.code(), Code::FailedPrecondition);
        assert_eq!(back.message(), status.message());
        assert_eq!(reason(&back).as_deref(), Some("MODEL_NOT_LOADED"));
    }

    #[test]
    fn what_is_quoted_at_length_is_cut_so_that_headers_hold_it() {
        for status in [
            invalid_argument("item.target_label", "ä".repeat(50_000)),
            not_found("MODEL_UNKNOWN", "x".repeat(50_000)),
        ] {
            assert!(status.message().ends_with('…'), "{status}");
            // Percent-encoded and in base64.
            let headers = 3 * status.message().len() + status.details().len() * 4 / 3;
            assert!(headers < 8_000, "{headers}");
        }
    }

    #[test]
    fn a_status_without_details_becomes_a_plain_item() {
        let item = item(&Status::cancelled("gone"));
        assert_eq!(
            (item.code, item.message.as_str(), item.details.len()),
            (1, "gone", 0)
        );
    }

    #[test]
    fn bad_input_names_its_field_and_no_room_says_when_to_retry() {
        let bad = invalid_argument("item.source", "is missing");
        let violations = bad.get_details_bad_request().unwrap().field_violations;
        assert_eq!(
            (violations[0].field.as_str(), bad.message()),
            ("item.source", "item.source: is missing")
        );
        let full = resource_exhausted("the queue is full", Duration::from_millis(250));
        assert_eq!(
            full.get_details_retry_info().unwrap().retry_delay,
            Some(Duration::from_millis(250))
        );
    }
}
