//! What goes into a batch: as many items as are done before the first of their callers leaves.

use std::ops::ControlFlow;
use std::time::Instant;

use saga_metrics::WorkMetrics;

use crate::answer::SubmitError;
use crate::entry::Entry;
use crate::outlook::Outlook;
use crate::queue::Kept;

/// The batch that a worker takes now.
pub(crate) struct Intake<'a> {
    outlook: &'a Outlook,
    metrics: &'a WorkMetrics,
    max_batch: usize,
    items: usize,
    /// When the first of their callers leaves.
    until: Option<Instant>,
    would_be_late: bool,
}

impl<'a> Intake<'a> {
    pub(crate) fn new(outlook: &'a Outlook, metrics: &'a WorkMetrics, max_batch: usize) -> Self {
        Self {
            outlook,
            metrics,
            max_batch,
            items: 0,
            until: None,
            would_be_late: false,
        }
    }

    /// Whether some caller is there now but will not be when an answer could be.
    pub(crate) fn would_be_late(&self) -> bool {
        self.would_be_late
    }

    /// The entry, where its caller will still be there; breaks off where one more would take too long.
    pub(crate) fn judge<Input, Output, E>(
        &mut self,
        entry: Entry<Input, Output, E>,
    ) -> Kept<Entry<Input, Output, E>> {
        self.metrics.queue_length.dec();
        if entry.answer.is_closed() {
            self.metrics.abandoned.inc();
            return ControlFlow::Continue(None);
        }
        let now = Instant::now();
        let in_time = |items: usize, until: Option<Instant>| {
            until.is_none_or(|until| {
                until.saturating_duration_since(now) > self.outlook.expected(items)
            })
        };
        if !in_time(self.items + 1, entry.deadline) {
            self.would_be_late |= entry.deadline > Some(now);
            self.metrics.expired.inc();
            let _ = entry.answer.send(Err(SubmitError::DeadlineExceeded));
            return ControlFlow::Continue(None);
        }
        let until = [self.until, entry.deadline].into_iter().flatten().min();
        let full = self.items + 1 == self.max_batch || !in_time(self.items + 2, until);
        (self.items, self.until) = (self.items + 1, until);
        match full {
            true => ControlFlow::Break(Some(entry)),
            false => ControlFlow::Continue(Some(entry)),
        }
    }
}
