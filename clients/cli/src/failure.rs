//! Turns an error chain into what a person reads: a gRPC status is its message and field violations, not its debug form.

use std::process::ExitCode;

use tonic_types::StatusExt as _;

/// Exit code of a load test whose generator was late: nothing failed, but the figures mean nothing.
pub const VOID: u8 = 3;

/// The exit code of a command that ended with `error`.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        Some(saga_load::Failure::Void { .. }) => ExitCode::from(VOID),
        _ => ExitCode::FAILURE,
    }
}

/// The chain of `error`, one cause a line; statuses without their transport noise.
pub fn describe(error: &anyhow::Error) -> String {
    let mut lines: Vec<String> = Vec::new();
    for cause in error.chain() {
        let line = match cause.downcast_ref::<tonic::Status>() {
            Some(status) => describe_status(status),
            None => cause.to_string(),
        };
        // A wrapper often repeats its cause.
        if !lines.iter().any(|earlier| earlier.contains(&line)) {
            lines.push(line);
        }
    }
    lines.join("\n  because: ")
}

/// Message of `status`, with the violated fields the message does not name itself.
pub fn describe_status(status: &tonic::Status) -> String {
    let message = status.message();
    let mut text = if message.is_empty() {
        status.code().description().to_owned()
    } else {
        message.to_owned()
    };
    if let Some(bad_request) = status.get_details_bad_request() {
        for violation in bad_request.field_violations {
            if !text.contains(&violation.field) {
                text.push_str(&format!(
                    "\n  {}: {}",
                    violation.field, violation.description
                ));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_void_load_test_has_an_exit_code_of_its_own() {
        let void = saga_load::Failure::Void {
            step: "open".to_owned(),
            p99_ms: 9.0,
            limit_ms: 5.0,
        };
        assert_eq!(exit_code(&void.into()), ExitCode::from(3));
        let interrupted = saga_load::Failure::Interrupted;
        assert_eq!(exit_code(&interrupted.into()), ExitCode::FAILURE);
    }

    #[test]
    fn a_status_is_its_message() {
        let error = anyhow::Error::from(tonic::Status::not_found("run `x` is not known"))
            .context("cannot read the results");
        let text = describe(&error);
        assert_eq!(
            text,
            "cannot read the results\n  because: run `x` is not known"
        );
    }

    #[test]
    fn violated_fields_are_named() {
        let details =
            tonic_types::ErrorDetails::with_bad_request_violation("item.source", "is missing");
        let status =
            tonic::Status::with_error_details(tonic::Code::InvalidArgument, "bad item", details);
        assert_eq!(
            describe_status(&status),
            "bad item\n  item.source: is missing"
        );
    }
}
