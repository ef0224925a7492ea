//! One item in the queue.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::answer::{Batched, SubmitError};

/// Where an item's answer goes.
pub(crate) type Answer<Output, E> = oneshot::Sender<Result<Batched<Output>, SubmitError<E>>>;

/// One item in the queue.
pub(crate) struct Entry<Input, Output, E> {
    pub(crate) input: Input,
    pub(crate) deadline: Option<Instant>,
    pub(crate) submitted: Instant,
    pub(crate) answer: Answer<Output, E>,
}
