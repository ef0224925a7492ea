//! Backends that cannot be asked for a while: their quota is used up, or a batch of theirs is under way.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The pauses of a run's backends, by name.
#[derive(Debug, Default)]
pub(super) struct Pauses(Mutex<BTreeMap<String, (Instant, String)>>);

/// A pause that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pause {
    /// Time until the backend can be asked again.
    pub(super) wait: Duration,
    /// What it said.
    pub(super) why: String,
}

impl Pauses {
    /// Lets a backend rest from now on; what it said before no longer counts.
    pub(super) fn pause(&self, backend: &str, pause: &Pause) {
        let until = Instant::now() + pause.wait;
        let entry = (until, pause.why.clone());
        self.pauses().insert(backend.to_owned(), entry);
    }

    /// The backends that rest now.
    pub(super) fn now(&self) -> BTreeMap<String, Pause> {
        let (now, mut pauses) = (Instant::now(), self.pauses());
        pauses.retain(|_, (until, _)| *until > now);
        let left = |(name, (until, why)): (&String, &(Instant, String))| {
            let pause = Pause {
                wait: *until - now,
                why: why.clone(),
            };
            (name.clone(), pause)
        };
        pauses.iter().map(left).collect()
    }

    fn pauses(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(wait: u64) -> Pause {
        Pause {
            wait: Duration::from_secs(wait),
            why: format!("for {wait} s"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_backend_rests_for_itself_and_as_long_as_it_last_said() {
        let pauses = Pauses::default();
        pauses.pause("gemini", &seconds(60));
        pauses.pause("openai", &seconds(5));
        tokio::time::advance(Duration::from_secs(5)).await;
        let left = Pause {
            wait: Duration::from_secs(55),
            why: "for 60 s".into(),
        };
        assert_eq!(pauses.now(), [("gemini".to_owned(), left)].into());
        pauses.pause("gemini", &seconds(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pauses.now(), BTreeMap::new());
    }
}
