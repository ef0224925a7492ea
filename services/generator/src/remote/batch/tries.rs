//! A try that goes with others: joining a batch, sending it, and looking at what became of it.

use std::sync::Arc;

use futures::StreamExt as _;
use saga_proto::labelstore::v1::settle_request::End;
use tracing::Instrument as _;

use super::forming::{Batch, Joined, Sent};
use super::looks::Look;
use super::{BatchConfig, Batches, Entry, EntryAnswer, Seen};
use crate::error::GenerateError;
use crate::remote::answers::Failure;
use crate::remote::backend::{Remote, Shared};
use crate::remote::ledger::Operation;

/// Words to the ledger that are under way at once.
const SETTLING: usize = 16;

impl<R: Remote> Shared<R> {
    fn batches(&self) -> Result<&dyn Batches, GenerateError> {
        let none = || GenerateError::Internal("a batch where there are none".to_owned());
        self.remote.batches().ok_or_else(none)
    }

    /// Sends a request together with others.
    ///
    /// # Errors
    /// [`GenerateError::Pending`] where that went well: there is no answer yet. `Ok`: the try failed, another may follow.
    pub(in crate::remote) async fn send_with_others(
        self: &Arc<Self>,
        entry: Entry,
        key: &str,
    ) -> Result<(), GenerateError> {
        let config = self.batches()?.config();
        let (permit, model) = (entry.permit.clone(), entry.prepared.model.clone());
        let (joined, sent) = self.forming.join(key, entry, config);
        // Tasks of their own: others wait for the batch even where this caller leaves.
        let shared = self.clone();
        match joined {
            Joined::Filled(batch) => {
                let send = async move { shared.send(batch).await };
                self.tasks.spawn(send.in_current_span());
            }
            Joined::Began(begun) => {
                let (key, linger) = (key.to_owned(), config.linger());
                let send = async move {
                    tokio::time::sleep(linger).await;
                    if let Some(batch) = shared.forming.take(&key, &model, begun) {
                        shared.send(batch).await;
                    }
                };
                self.tasks.spawn(send.in_current_span());
            }
            Joined::Waits => {}
        }
        match sent.await {
            Ok(Ok(())) => Err(pending(config, "the batch was sent")),
            Ok(Err(failure)) => self.failed(&permit, failure).await,
            Err(_) => Err(GenerateError::Internal("a batch was dropped".to_owned())),
        }
    }

    async fn send(&self, batch: Batch) {
        let sent = self.try_send(&batch).await;
        if let Err(failure) = &sent {
            self.learn(&batch.key, failure);
        }
        batch.tell(&sent);
    }

    async fn try_send(&self, batch: &Batch) -> Sent {
        let broken = |error: GenerateError| Failure::Unavailable(error.to_string());
        let batches = self.batches().map_err(broken)?;
        let Some(secret) = self.keys.secret(&batch.key) else {
            return Err(Failure::Unavailable(format!(
                "key '{}' was taken away",
                batch.key
            )));
        };
        let submitted = batches.submit(&self.http, &batch.entries, &secret).await;
        if let Err(Failure::BadKey(why)) = &submitted {
            self.keys.set_aside(&batch.key, &secret, why);
        }
        let name = submitted?;
        tracing::info!(batch = name, requests = batch.entries.len(), "sent");
        let permits: Vec<String> = batch
            .entries
            .iter()
            .map(|entry| entry.permit.clone())
            .collect();
        let recorded = futures::stream::iter(permits).map(|permit| {
            let end = End::Operation(name.clone());
            async move { self.ledger.settle(&permit, None, end).await }
        });
        let mut recorded = recorded.buffer_unordered(SETTLING);
        while let Some(recorded) = recorded.next().await {
            if let Err(error) = recorded {
                tracing::error!(batch = name, %error, "a batch could not be recorded; asked again, it would be paid for again");
            }
        }
        Ok(())
    }

    /// Looks at the batch that a request went with.
    ///
    /// # Errors
    /// [`GenerateError::Pending`] while the server works on it. `Ok`: the ledger knows more now.
    pub(in crate::remote) async fn look_at(&self, of: Operation) -> Result<(), GenerateError> {
        let config = self.batches()?.config();
        let look = self.look(&of);
        match self.looks.latest(&of.name, config.poll(), look).await? {
            Look::Running => Err(pending(config, &format!("the server works on {}", of.name))),
            Look::Failed(why) => self.failed(&of.permit, Failure::Unavailable(why)).await,
            Look::Recorded(permits) if permits.contains(&of.permit) => Ok(()),
            Look::Recorded(_) => {
                let why = format!("{} has no answer to this request", of.name);
                self.failed(&of.permit, Failure::Lost(why)).await
            }
        }
    }

    async fn look(&self, of: &Operation) -> Result<Look, GenerateError> {
        let batches = self.batches()?;
        let Some(secret) = self.keys.secret(&of.key) else {
            let message = format!(
                "{} was sent with key '{}', which is gone; put it back to get what it paid for",
                of.name, of.key
            );
            return Err(GenerateError::refused("NO_KEY", message));
        };
        match batches.look(&self.http, &of.name, &secret).await {
            Ok(Seen::Running) => Ok(Look::Running),
            Ok(Seen::Failed(why)) => Ok(Look::Failed(format!("{}: {why}", of.name))),
            Ok(Seen::Answered(answers)) => self.record_all(answers).await,
            Err(failure) => {
                tracing::warn!(batch = of.name, %failure, "it could not be looked at");
                Ok(Look::Running)
            }
        }
    }

    async fn record_all(&self, answers: Vec<EntryAnswer>) -> Result<Look, GenerateError> {
        let permits = answers.iter().map(|answer| answer.permit.clone()).collect();
        let recorded = futures::stream::iter(answers).map(|answer| async move {
            match answer.outcome {
                Ok(outcome) => self
                    .record(&answer.permit, outcome.into(), &answer.price)
                    .await
                    .map(drop),
                Err(why) => self.failed(&answer.permit, Failure::Unavailable(why)).await,
            }
        });
        let mut recorded = recorded.buffer_unordered(SETTLING);
        while let Some(recorded) = recorded.next().await {
            recorded?;
        }
        Ok(Look::Recorded(Arc::new(permits)))
    }
}

fn pending(config: &BatchConfig, what: &str) -> GenerateError {
    GenerateError::Pending {
        message: format!("{what}; its answers come within hours"),
        retry_after: config.poll(),
    }
}
