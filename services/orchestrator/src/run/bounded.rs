//! The same work on many items, a bounded number at once.

use std::pin::pin;

use futures::{Stream, TryStreamExt as _};

use super::{RunContext, RunError, stage::Progress};

/// Items under way at once; lets the models form batches.
const IN_FLIGHT: usize = 16;
/// Items between two reports of progress.
const REPORT_EVERY: u64 = 64;

/// What `work` makes of each item, in their order.
pub(crate) fn each<I, T, F, Fut>(
    items: impl Stream<Item = Result<I, RunError>>,
    work: F,
) -> impl Stream<Item = Result<T, RunError>>
where
    F: FnMut(I) -> Fut,
    Fut: Future<Output = Result<T, RunError>>,
{
    items.map_ok(work).try_buffered(IN_FLIGHT)
}

/// All items, of which there will be about `total`; tells the watchers of `stage` how far it is.
pub(crate) async fn collect<T>(
    context: &RunContext,
    stage: &'static str,
    total: u64,
    items: impl Stream<Item = Result<T, RunError>>,
) -> Result<Vec<T>, RunError> {
    let (mut items, mut progress) = (pin!(items), Progress::new(stage));
    let mut collected = Vec::new();
    while let Some(item) = items.try_next().await? {
        collected.push(item);
        let done = collected.len() as u64;
        if done.is_multiple_of(REPORT_EVERY) {
            context.events.emit(progress.at(done, total));
        }
    }
    Ok(collected)
}
