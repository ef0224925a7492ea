//! The keys of one backend: named, limited, changeable while the service runs, never printed.
//!
//! A key that the server says has no quota left rests; one that it does not take is set aside until it changes. What a key
//! may still ask for in this minute and day is the ledger's to know.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use saga_proto::labelstore::v1 as ledger;
use serde::Deserialize;
use tokio::time::Instant;

use super::config::KeyLimits;
use crate::backend::Allowance;
use crate::error::GenerateError;

/// How long a key rests where the server does not say.
const REST: Duration = Duration::from_secs(30);
/// What a minute and a day are kept longer by, for requests that take longer to arrive than those before them.
const MARGIN: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A key's secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the request's header alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A TOML file of `[[keys]]` with `name`, `key` and, where they differ, `requests_per_minute` and `requests_per_day`. It
    /// is read again when it changes.
    File(PathBuf),
    /// An environment variable with one key, named like the variable in lower case.
    Environment(&'static str),
    /// The server asks for none.
    Nobody,
}

impl Source {
    /// The file, or the other source where its path is empty.
    pub fn file_or(path: &Path, other: Self) -> Self {
        if path.as_os_str().is_empty() {
            other
        } else {
            Self::File(path.to_owned())
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    keys: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    key: Secret,
    requests_per_minute: Option<u32>,
    requests_per_day: Option<u32>,
}

/// The keys of one backend.
#[derive(Debug)]
pub struct KeyRing {
    source: Source,
    limits: KeyLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// Of the file that `entries` were read from.
    modified: Option<SystemTime>,
    resting: HashMap<String, Instant>,
    /// The secret that was not taken, and why.
    set_aside: BTreeMap<String, (Secret, String)>,
}

/// What can be used now.
#[derive(Debug)]
pub enum Usable {
    /// Keys with their limits, as the ledger takes them.
    Keys(Vec<ledger::Key>),
    /// All of them rest; until the first is back.
    Resting(Duration),
}

impl KeyRing {
    /// Reads nothing yet.
    pub fn new(source: Source, limits: KeyLimits) -> Self {
        Self {
            source,
            limits,
            state: Mutex::default(),
        }
    }

    /// The keys that can be used now.
    ///
    /// # Errors
    /// [`GenerateError::Refused`] where there is none, with what to do.
    pub fn usable(&self) -> Result<Usable, GenerateError> {
        let mut state = self.state();
        self.refresh(&mut state)?;
        let now = Instant::now();
        state.resting.retain(|_, until| *until > now);
        let good = |entry: &&Entry| !state.set_aside.contains_key(&entry.name);
        let awake = |entry: &&Entry| !state.resting.contains_key(&entry.name);
        let keys: Vec<ledger::Key> = state
            .entries
            .iter()
            .filter(good)
            .filter(awake)
            .map(|entry| self.ledger_key(entry))
            .collect();
        if !keys.is_empty() {
            return Ok(Usable::Keys(keys));
        }
        let good: Vec<&Entry> = state.entries.iter().filter(good).collect();
        let first = good
            .iter()
            .filter_map(|entry| state.resting.get(&entry.name))
            .min();
        match first {
            Some(until) => Ok(Usable::Resting(*until - now)),
            None => Err(none(&self.source, &state.set_aside)),
        }
    }

    /// Every key, also those that cannot be used now.
    ///
    /// # Errors
    /// As [`KeyRing::usable`].
    pub fn all(&self) -> Result<Vec<(String, Secret)>, GenerateError> {
        let mut state = self.state();
        self.refresh(&mut state)?;
        if state.entries.is_empty() {
            return Err(none(&self.source, &state.set_aside));
        }
        let key = |entry: &Entry| (entry.name.clone(), entry.key.clone());
        Ok(state.entries.iter().map(key).collect())
    }

    /// What all keys together allow; nothing is known of keys that cannot be read.
    pub fn allowance(&self) -> Allowance {
        let mut state = self.state();
        // Whoever uses the keys is told why they cannot be read.
        drop(self.refresh(&mut state));
        let sum = |limit: &dyn Fn(&Entry) -> Option<u32>| -> u64 {
            let limits: Option<Vec<u32>> = state.entries.iter().map(limit).collect();
            limits.unwrap_or_default().into_iter().map(u64::from).sum()
        };
        Allowance {
            per_minute: sum(&|entry| self.per_minute(entry)),
            per_day: sum(&|entry| self.per_day(entry)),
        }
    }

    fn per_minute(&self, entry: &Entry) -> Option<u32> {
        entry
            .requests_per_minute
            .or(self.limits.requests_per_minute)
    }

    fn per_day(&self, entry: &Entry) -> Option<u32> {
        entry.requests_per_day.or(self.limits.requests_per_day)
    }

    /// The secret of a key.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        let state = self.state();
        let entry = state.entries.iter().find(|entry| entry.name == name)?;
        Some(entry.key.clone())
    }

    /// Lets a key rest: the server says that it has no quota left.
    pub fn rest(&self, name: &str, retry_after: Option<Duration>) {
        let until = Instant::now() + retry_after.unwrap_or(REST);
        let mut state = self.state();
        let kept = state.resting.entry(name.to_owned()).or_insert(until);
        *kept = until.max(*kept);
    }

    /// Sets a key aside: the server does not take it.
    pub fn set_aside(&self, name: &str, secret: &Secret, why: &str) {
        tracing::error!(
            key = name,
            why,
            "the server does not take this key; set aside until it changes"
        );
        let mut state = self.state();
        let entry = (secret.clone(), why.to_owned());
        state.set_aside.insert(name.to_owned(), entry);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger_key(&self, entry: &Entry) -> ledger::Key {
        let limit = |requests: Option<u32>, period: Duration| {
            Some(ledger::Limit {
                requests: requests?,
                period: (period + MARGIN).try_into().ok(),
            })
        };
        let (minute, day) = (self.per_minute(entry), self.per_day(entry));
        ledger::Key {
            name: entry.name.clone(),
            limits: [limit(minute, MINUTE), limit(day, DAY)]
                .into_iter()
                .flatten()
                .collect(),
        }
    }

    /// Reads the keys again where they changed. A file that cannot be read leaves the keys that were good before.
    fn refresh(&self, state: &mut State) -> Result<(), GenerateError> {
        let entries = match &self.source {
            Source::File(path) => {
                let modified = fs::metadata(path).and_then(|data| data.modified()).ok();
                if modified.is_some() && modified == state.modified {
                    return Ok(());
                }
                match read(path) {
                    Ok(entries) => {
                        state.modified = modified;
                        entries
                    }
                    Err(why) if state.entries.is_empty() => {
                        return Err(GenerateError::refused("NO_KEY", why));
                    }
                    Err(why) => {
                        tracing::warn!(why, "the keys from before stay in use");
                        return Ok(());
                    }
                }
            }
            Source::Environment(variable) => std::env::var(variable)
                .ok()
                .filter(|secret| !secret.is_empty())
                .map(|secret| entry(&variable.to_lowercase(), secret))
                .into_iter()
                .collect(),
            Source::Nobody => vec![entry("none", String::new())],
        };
        let same = |entry: &Entry, secret: &Secret| entry.key == *secret;
        state.set_aside.retain(|name, (secret, _)| {
            entries
                .iter()
                .any(|entry| entry.name == *name && same(entry, secret))
        });
        state.entries = entries;
        Ok(())
    }
}

fn entry(name: &str, secret: String) -> Entry {
    Entry {
        name: name.to_owned(),
        key: Secret(secret),
        requests_per_minute: None,
        requests_per_day: None,
    }
}

/// The entries of a file. Messages never quote it: it holds secrets.
fn read(path: &Path) -> Result<Vec<Entry>, String> {
    let text = fs::read_to_string(path).map_err(|error| {
        // In full: the path may be relative to another folder than was thought.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        format!("cannot read the keys in {}: {error}", path.display())
    })?;
    let file: KeysFile = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| {
            1 + text[..span.start.min(text.len())].matches('\n').count()
        });
        format!(
            "{} line {line}: {}; it must hold [[keys]] with name and key",
            path.display(),
            error.message()
        )
    })?;
    Ok(file.keys)
}

fn none(source: &Source, set_aside: &BTreeMap<String, (Secret, String)>) -> GenerateError {
    if !set_aside.is_empty() {
        let names: Vec<String> = set_aside
            .iter()
            .map(|(name, (_, why))| format!("'{name}' ({why})"))
            .collect();
        let why = format!(
            "the server takes none of the keys: {}; replace them",
            names.join(", ")
        );
        return GenerateError::refused("NO_KEY", why);
    }
    let why = match source {
        Source::File(path) => format!(
            "{} holds no keys; add [[keys]] with name and key",
            path.display()
        ),
        Source::Environment(variable) => {
            format!("there is no key; set {variable}, or a keys_file in the configuration")
        }
        Source::Nobody => "there is no key".to_owned(),
    };
    GenerateError::refused("NO_KEY", why)
}

#[cfg(test)]
mod tests;
