//! Looks at batches: each by one caller at a time, and not too often.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The latest look at each batch, by its name.
#[derive(Default)]
pub struct Looks(Mutex<HashMap<String, Latest>>);

/// Held while somebody looks.
type Latest = Arc<tokio::sync::Mutex<Option<(Instant, Look)>>>;

/// What a look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    Running,
    /// The batch ended without answers.
    Failed(String),
    /// Everything that it brought is in the ledger: the permits it has a word on.
    Recorded(Arc<HashSet<String>>),
}

impl Looks {
    /// The latest look at batch `name`; by `look` where that is `poll` old.
    ///
    /// # Errors
    /// Those of `look`.
    pub async fn latest<E>(
        &self,
        name: &str,
        poll: Duration,
        look: impl Future<Output = Result<Look, E>>,
    ) -> Result<Look, E> {
        let latest = self.batches().entry(name.to_owned()).or_default().clone();
        let mut latest = latest.lock().await;
        if let Some((at, seen)) = latest.as_ref()
            && (*seen != Look::Running || at.elapsed() < poll)
        {
            return Ok(seen.clone());
        }
        let seen = look.await?;
        *latest = Some((Instant::now(), seen.clone()));
        if seen != Look::Running {
            // Those who wait for this look hold it; whoever comes later asks the ledger first.
            self.batches().remove(name);
        }
        Ok(seen)
    }

    fn batches(&self) -> MutexGuard<'_, HashMap<String, Latest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_looked_at_once_a_while_and_not_after_its_end() {
        let (looks, count) = (Looks::default(), Cell::new(0));
        let poll = Duration::from_secs(10);
        let look = async |seen: Look| {
            let look = async {
                count.set(count.get() + 1);
                // Others come meanwhile.
                tokio::task::yield_now().await;
                Ok::<_, Infallible>(seen)
            };
            looks.latest("batches/1", poll, look).await.unwrap()
        };
        let failed = Look::Failed("expired".into());
        assert_eq!(look(Look::Running).await, Look::Running);
        assert_eq!(
            (look(failed.clone()).await, count.get()),
            (Look::Running, 1)
        );
        tokio::time::advance(poll).await;
        let both = tokio::join!(look(failed.clone()), look(Look::Running));
        assert_eq!((both, count.get()), ((failed.clone(), failed), 2));
        assert!(looks.batches().is_empty());
    }
}
