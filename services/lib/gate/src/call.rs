//! How long a caller waits and how urgent it is, and what that means for the queue.

use std::time::{Duration, Instant};

use saga_batching::{Batched, Batcher, Priority, SubmitError};
use saga_chassis::{priority, status};
use tonic::Status;
use tonic::metadata::MetadataMap;
use tracing::{Instrument as _, field::Empty};

/// When to try again after a full queue.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What the transport knows about the caller of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// After this nobody waits for the answer.
    pub deadline: Option<Instant>,
    /// Whether the caller waits for room (a stream) or is shed (a unary call).
    pub waits_for_room: bool,
    /// Which items of the queue go first.
    pub priority: Priority,
    /// When the item arrived at the service.
    pub arrived: Instant,
}

impl Call {
    /// A unary call: shed where there is no room.
    ///
    /// # Errors
    /// INVALID_ARGUMENT on a priority that is none.
    pub fn unary(metadata: &MetadataMap) -> Result<Self, Status> {
        Ok(Self {
            deadline: deadline(metadata),
            waits_for_room: false,
            priority: match priority::is_low(metadata)? {
                true => Priority::Low,
                false => Priority::Normal,
            },
            arrived: Instant::now(),
        })
    }

    /// An item of a stream: waits for room, which slows its sender down.
    ///
    /// # Errors
    /// INVALID_ARGUMENT on a priority that is none.
    pub fn stream(metadata: &MetadataMap) -> Result<Self, Status> {
        Ok(Self {
            waits_for_room: true,
            ..Self::unary(metadata)?
        })
    }

    /// The same call for an item of its stream that arrives now.
    #[must_use]
    pub fn arriving(self) -> Self {
        Self {
            arrived: Instant::now(),
            ..self
        }
    }

    /// The same call, waiting for room: for the rows of one request, whose number is bounded, so that they are not shed one
    /// by one.
    #[must_use]
    pub fn waiting(self) -> Self {
        Self {
            waits_for_room: true,
            ..self
        }
    }
}

/// Hands `input` to the worker and waits for the answer, in a span called as the work that tells where the time went.
///
/// # Errors
/// RESOURCE_EXHAUSTED with RetryInfo where a unary call finds no room, DEADLINE_EXCEEDED, INTERNAL where the worker is
/// out of service, or the worker's own status.
pub async fn submit<Input, Output>(
    batcher: &Batcher<Input, Output, Status>,
    input: Input,
    call: Call,
) -> Result<Batched<Output>, Status>
where
    Input: Send + 'static,
    Output: Send + 'static,
{
    let span = tracing::info_span!(
        "work",
        otel.name = batcher.metrics().work(),
        queue_us = Empty,
        compute_us = Empty,
        batch_size = Empty
    );
    let answer = async {
        if call.waits_for_room {
            batcher.submit(input, call.priority, call.deadline).await
        } else {
            batcher
                .try_submit(input, call.priority, call.deadline)
                .await
        }
    };
    let answer = answer.instrument(span.clone()).await;
    if matches!(answer, Ok(_) | Err(SubmitError::Item(_))) {
        let total = &batcher.metrics().request_seconds;
        total.observe(call.arrived.elapsed());
    }
    if let Ok(batched) = &answer {
        span.record("queue_us", microseconds(batched.queue));
        span.record("compute_us", microseconds(batched.compute));
        span.record("batch_size", batched.batch_size);
    }
    answer.map_err(refusal)
}

/// Whether the worker would take an item of this call now and answer it in time: asked before work of its own is put into the item.
///
/// # Errors
/// As [`submit`].
pub fn admit<Input, Output>(
    batcher: &Batcher<Input, Output, Status>,
    call: Call,
) -> Result<(), Status>
where
    Input: Send + 'static,
    Output: Send + 'static,
{
    batcher
        .admit(call.priority, call.deadline, call.waits_for_room)
        .map_err(refusal)
}

fn refusal(error: SubmitError<Status>) -> Status {
    match error {
        SubmitError::Item(status) => status,
        SubmitError::Full { .. } => status::resource_exhausted(error.to_string(), RETRY_AFTER),
        SubmitError::DeadlineExceeded => Status::deadline_exceeded(error.to_string()),
        SubmitError::Unhealthy { .. } => status::internal("WORKER_UNHEALTHY", error.to_string()),
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The deadline of the `grpc-timeout` header, which gives the time left as up to 8 digits and a unit.
fn deadline(metadata: &MetadataMap) -> Option<Instant> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let left = match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    };
    Instant::now().checked_add(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds_left(timeout: &str) -> Option<u64> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", timeout.parse().unwrap());
        let deadline = Call::unary(&metadata).unwrap().deadline?;
        Some(
            deadline
                .saturating_duration_since(Instant::now())
                .as_secs_f64()
                .round() as u64,
        )
    }

    #[test]
    fn the_timeout_header_gives_the_deadline() {
        assert_eq!(seconds_left("30S"), Some(30));
        assert_eq!(seconds_left("2H"), Some(7200));
        assert_eq!(seconds_left("5000m"), Some(5));
        for malformed in ["", "S", "1", "-1S", "123456789S", "5s"] {
            assert_eq!(seconds_left(malformed), None, "{malformed}");
        }
        let stream = Call::stream(&MetadataMap::new()).unwrap();
        assert_eq!((stream.deadline, stream.waits_for_room), (None, true));
    }
}
