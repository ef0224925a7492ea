//! What happens in a run, for any number of watchers: each first gets where the run stands, then what follows.

use std::sync::{Arc, Mutex, PoisonError};

use saga_proto::orchestrator::v1::{WatchRunResponse, watch_run_response::Event};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Events a slow watcher may lag behind before it is brought up to date anew.
const CAPACITY: usize = 256;

/// The events of one run.
#[derive(Debug)]
pub struct EventLog {
    state: Mutex<Vec<Event>>,
    live: broadcast::Sender<Event>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            live: broadcast::channel(CAPACITY).0,
        }
    }
}

impl EventLog {
    /// Tells all watchers. Progress and funnel replace their predecessors in what a late watcher gets.
    pub fn emit(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.retain(|earlier| !replaces(&event, earlier));
        state.push(event.clone());
        // Nobody listening is no error.
        let _ = self.live.send(event);
    }

    /// Where the run stands, and the receiver of everything after it.
    fn subscribe(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.clone(), self.live.subscribe())
    }

    /// A stream that begins with where the run stands and ends with the run.
    pub fn watch(self: Arc<Self>) -> ReceiverStream<Result<WatchRunResponse, Status>> {
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move { self.forward(sender).await });
        ReceiverStream::new(receiver)
    }

    /// Ends when the run has ended or the watcher has left.
    async fn forward(&self, sender: mpsc::Sender<Result<WatchRunResponse, Status>>) {
        loop {
            let (past, mut live) = self.subscribe();
            for event in past {
                if !deliver(&sender, event).await {
                    return;
                }
            }
            loop {
                let received = tokio::select! {
                    received = live.recv() => received,
                    () = sender.closed() => return,
                };
                match received {
                    Ok(event) => {
                        if !deliver(&sender, event).await {
                            return;
                        }
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                    Err(broadcast::error::RecvError::Lagged(_)) => break,
                }
            }
        }
    }
}

/// Sends an event; false where nothing should follow it.
async fn deliver(sender: &mpsc::Sender<Result<WatchRunResponse, Status>>, event: Event) -> bool {
    let last = matches!(event, Event::Failed(_) | Event::Finished(_));
    sender
        .send(Ok(WatchRunResponse { event: Some(event) }))
        .await
        .is_ok()
        && !last
}

/// Whether a late watcher needs `earlier` no more once `event` is there.
fn replaces(event: &Event, earlier: &Event) -> bool {
    match (event, earlier) {
        (Event::Funnel(_), Event::Funnel(_)) => true,
        (Event::StageProgress(new), Event::StageProgress(old)) => new.stage == old.stage,
        (Event::StageFinished(new), Event::StageProgress(old)) => new.stage == old.stage,
        (Event::StageFinished(new), Event::StageStarted(old)) => new.stage == old.stage,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use saga_proto::orchestrator::v1::{RunFinished, StageFinished, StageProgress, StageStarted};
    use tokio_stream::StreamExt as _;

    use super::*;

    fn progress(done: u64) -> Event {
        Event::StageProgress(StageProgress {
            stage: "generate".into(),
            done,
            ..StageProgress::default()
        })
    }

    fn finished() -> Event {
        Event::Finished(RunFinished {
            results_json: "{}".into(),
        })
    }

    async fn all(log: Arc<EventLog>) -> Vec<Event> {
        log.watch()
            .map(|response| response.unwrap().event.unwrap())
            .collect()
            .await
    }

    #[tokio::test]
    async fn a_late_watcher_gets_the_state_and_not_the_history() {
        let log = Arc::new(EventLog::default());
        log.emit(Event::StageStarted(StageStarted {
            stage: "split".into(),
        }));
        log.emit(Event::StageFinished(StageFinished {
            stage: "split".into(),
            ..StageFinished::default()
        }));
        (0..1_000).for_each(|done| log.emit(progress(done)));
        log.emit(finished());
        let events = all(log).await;
        assert_eq!(events.len(), 3, "{events:?}");
        assert_eq!(events[1], progress(999));
    }

    #[tokio::test]
    async fn a_watcher_that_lags_still_sees_the_end() {
        let log = Arc::new(EventLog::default());
        let mut watcher = log.clone().watch();
        log.emit(progress(0));
        assert!(watcher.next().await.is_some());
        (0..10 * CAPACITY as u64).for_each(|done| log.emit(progress(done)));
        log.emit(finished());
        let last = watcher
            .map(|response| response.unwrap().event.unwrap())
            .collect::<Vec<_>>()
            .await
            .pop();
        assert_eq!(last, Some(finished()));
    }
}
