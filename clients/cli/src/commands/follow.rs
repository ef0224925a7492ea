//! The events of a run, or of work on a finished one, shown until its end.

use anyhow::{Result, bail};
use futures::{Stream, StreamExt as _};
use saga_proto::orchestrator::v1::{WatchRunResponse, watch_run_response::Event};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{args::Global, progress::Progress};

/// What came of it, JSON; `None` where the user interrupted it.
pub async fn follow(
    global: &Global,
    mut events: impl Stream<Item = Result<WatchRunResponse, Status>> + Unpin,
) -> Result<Option<String>> {
    let mut progress = Progress::new(global.json);
    let interrupted = CancellationToken::new();
    saga_chassis::signals::cancel_on_stop(interrupted.clone())?;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = interrupted.cancelled() => return Ok(None),
        };
        let Some(event) = event.transpose()? else {
            bail!(
                "the orchestrator ended the stream too early; give the command again, `saga run` with --resume"
            )
        };
        progress.show(&event)?;
        match event.event {
            Some(Event::Failed(failed)) => {
                bail!("stage `{}` failed: {}", failed.stage, failed.message)
            }
            Some(Event::Finished(finished)) => return Ok(Some(finished.results_json)),
            _ => {}
        }
    }
}
