//! Where the time of one answer went, as messages tell it.

use std::time::Duration;

use saga_proto::r#type::v1::Timing;

/// Time in queues, of decoding and of computing, in a batch of so many.
#[must_use]
pub fn timing([queue, decode, compute]: [Duration; 3], batch_size: usize) -> Timing {
    // Durations here are far below the 292 years at which the conversion would fail.
    let proto = |duration: Duration| prost_types::Duration::try_from(duration).ok();
    Timing {
        queue: proto(queue),
        decode: proto(decode),
        compute: proto(compute),
        batch_size: u32::try_from(batch_size).unwrap_or(u32::MAX),
    }
}
