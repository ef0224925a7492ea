//! The name that a batch has before the server gives it one. It is in the ledger before the batch leaves, so that a batch of
//! which nobody heard whether it was taken is looked for instead of paid for again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What labels begin with, and no server's name does.
const PREFIX: &str = "saga-";

/// "saga-SECONDS-HASH": when it was made, in seconds since 1970, and of which permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    text: String,
    made: Duration,
}

impl Label {
    /// The label of a batch of these permits that is about to be sent.
    pub fn new<'a>(permits: impl Iterator<Item = &'a str>) -> Self {
        let mut hash = blake3::Hasher::new();
        for permit in permits {
            hash.update(&(permit.len() as u64).to_le_bytes());
            hash.update(permit.as_bytes());
        }
        let made = Duration::from_secs(since_1970().as_secs());
        let hash = hash.finalize().to_hex();
        Self {
            text: format!("{PREFIX}{}-{hash}", made.as_secs()),
            made,
        }
    }

    /// What the ledger holds, where it is a label and not a server's name.
    pub fn parse(name: &str) -> Option<Self> {
        let (seconds, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
        Some(Self {
            text: name.to_owned(),
            made: Duration::from_secs(seconds.parse().ok()?),
        })
    }

    /// The batch's display name at the server.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether its batch may still be on its way after `time`; also where the clock was set back since by no more than that.
    pub fn is_younger_than(&self, time: Duration) -> bool {
        since_1970().abs_diff(self.made) < time
    }
}

fn since_1970() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_of_its_permits_and_of_its_time() {
        let label = Label::new(["a.0", "b.0"].into_iter());
        assert_eq!(Label::parse(label.as_str()), Some(label.clone()));
        assert!(label.is_younger_than(Duration::from_secs(60)));
        let of = |label: &Label| label.text.rsplit('-').next().unwrap().to_owned();
        assert_ne!(of(&label), of(&Label::new(["a.0b.0"].into_iter())));
        for (seconds, young) in [(0, false), (since_1970().as_secs() + 3_600, false)] {
            let label = Label::parse(&format!("saga-{seconds}-00")).unwrap();
            assert_eq!(label.is_younger_than(Duration::from_secs(60)), young);
        }
        for name in ["batches/12", "saga-", "saga-soon-00", "saga-12"] {
            assert_eq!(Label::parse(name), None, "{name}");
        }
    }
}
