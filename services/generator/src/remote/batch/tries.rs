//! A try that goes with others: joining a batch, sending it, looking for it, and looking at what became of it.

use std::sync::Arc;

use futures::StreamExt as _;
use saga_proto::labelstore::v1::settle_request::End;
use tracing::Instrument as _;

use super::forming::{Batch, Joined, Sent};
use super::looks::Look;
use super::{BatchConfig, Batches, Entry, EntryAnswer, Label, Seen};
use crate::error::GenerateError;
use crate::remote::answers::Failure;
use crate::remote::backend::{Remote, Shared};
use crate::remote::keys::Secret;
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
        let label = Label::new(batch.entries.iter().map(|entry| entry.permit.as_str()));
        let noted = self.note(label.as_str(), &batch.entries);
        match tokio::time::timeout(self.config.whole_try(), noted).await {
            Ok(noted) => noted.map_err(broken)?,
            Err(_) => return Err(Failure::Unavailable("the ledger is too slow".to_owned())),
        }
        let submitted = batches
            .submit(&self.http, &label, &batch.entries, &secret)
            .await;
        let name = match submitted {
            Ok(name) => name,
            Err(Failure::Lost(why)) => {
                tracing::warn!(batch = label.as_str(), why, "it may have been taken");
                return Ok(());
            }
            Err(failure) => {
                if let Failure::BadKey(why) = &failure {
                    self.keys.set_aside(&batch.key, &secret, why);
                }
                return Err(failure);
            }
        };
        tracing::info!(batch = name, requests = batch.entries.len(), "sent");
        if let Err(error) = self.note(&name, &batch.entries).await {
            tracing::warn!(batch = name, %error, "it has to be looked for by its label");
        }
        Ok(())
    }

    /// Lets the ledger know under which name a batch goes on; the first error after every permit was told.
    async fn note(&self, name: &str, entries: &[Entry]) -> Result<(), GenerateError> {
        let permits: Vec<String> = entries.iter().map(|entry| entry.permit.clone()).collect();
        let noted = futures::stream::iter(permits).map(|permit| {
            let end = End::Operation(name.to_owned());
            async move { self.ledger.settle(&permit, None, end).await }
        });
        let noted: Vec<_> = noted.buffer_unordered(SETTLING).collect().await;
        noted.into_iter().try_for_each(|noted| noted.map(drop))
    }

    /// Looks at the batch that a request went with.
    ///
    /// # Errors
    /// [`GenerateError::Pending`] while the server works on it. `Ok`: the ledger knows more now.
    pub(in crate::remote) async fn look_at(&self, of: Operation) -> Result<(), GenerateError> {
        if let Some(label) = Label::parse(&of.name) {
            return self.find(&of, &label).await;
        }
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

    /// Looks for a batch of which nobody heard whether it was taken.
    async fn find(&self, of: &Operation, label: &Label) -> Result<(), GenerateError> {
        let batches = self.batches()?;
        let secret = self.secret_of(of)?;
        match batches.find(&self.http, label, &secret).await {
            Ok(Some(name)) => {
                tracing::info!(batch = name, permit = of.permit, "found");
                let end = End::Operation(name);
                self.ledger.settle(&of.permit, None, end).await.map(drop)
            }
            // A server that has no list refuses to give one.
            Ok(None) | Err(Failure::Rejected(_)) if !self.may_arrive(label) => {
                let why = format!("{} did not reach the server", of.name);
                self.failed(&of.permit, Failure::Unavailable(why)).await
            }
            Ok(None) => Err(pending(batches.config(), "the batch is on its way")),
            Err(failure) => {
                tracing::warn!(batch = of.name, %failure, "it could not be looked for");
                Err(pending(batches.config(), "the batch is looked for"))
            }
        }
    }

    /// Whether a batch that the server does not list may still reach it: noted for as long as a try, then sent, with as much to spare.
    fn may_arrive(&self, label: &Label) -> bool {
        label.is_younger_than(3 * self.config.whole_try())
    }

    fn secret_of(&self, of: &Operation) -> Result<Secret, GenerateError> {
        self.keys.secret(&of.key).ok_or_else(|| {
            let message = format!(
                "{} was sent with key '{}', which is gone; put it back to get what it paid for",
                of.name, of.key
            );
            GenerateError::refused("NO_KEY", message)
        })
    }

    async fn look(&self, of: &Operation) -> Result<Look, GenerateError> {
        let batches = self.batches()?;
        let secret = self.secret_of(of)?;
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
