//! The keys of one backend: named, limited, changeable while the service runs, never printed.
//!
//! A key that the server says has no quota left rests; one that it does not take is set aside until it changes. What a key
//! may still ask for in this minute and day is the ledger's to know.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use saga_proto::labelstore::v1 as ledger;
use serde::Deserialize;
use tokio::time::Instant;

use super::config::KeyLimits;
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
        let minute = entry
            .requests_per_minute
            .or(self.limits.requests_per_minute);
        let day = entry.requests_per_day.or(self.limits.requests_per_day);
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
fn read(path: &PathBuf) -> Result<Vec<Entry>, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read the keys in {}: {error}", path.display()))?;
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
mod tests {
    use super::*;

    fn ring(folder: &tempfile::TempDir, text: &str) -> KeyRing {
        let path = folder.path().join("keys.toml");
        fs::write(&path, text).unwrap();
        let limits = KeyLimits {
            requests_per_minute: Some(10),
            requests_per_day: None,
        };
        KeyRing::new(Source::File(path), limits)
    }

    fn names(ring: &KeyRing) -> Vec<String> {
        match ring.usable().unwrap() {
            Usable::Keys(keys) => keys.into_iter().map(|key| key.name).collect(),
            Usable::Resting(_) => Vec::new(),
        }
    }

    const TWO: &str = "[[keys]]\nname = \"a\"\nkey = \"s3cret\"\n[[keys]]\nname = \"b\"\nkey = \"other\"\nrequests_per_day = 5\n";

    #[tokio::test(start_paused = true)]
    async fn keys_rest_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let ring = ring(&folder, TWO);
        assert_eq!(names(&ring), ["a", "b"]);
        ring.rest("a", Some(Duration::from_secs(50)));
        ring.rest("a", None);
        assert_eq!(names(&ring), ["b"]);
        ring.rest("b", None);
        let Usable::Resting(left) = ring.usable().unwrap() else {
            panic!()
        };
        assert_eq!(left, REST);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(names(&ring), ["b"]);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(names(&ring), ["a", "b"]);
    }

    #[test]
    fn limits_are_the_keys_own_or_the_backends() {
        let folder = tempfile::tempdir().unwrap();
        let Usable::Keys(keys) = ring(&folder, TWO).usable().unwrap() else {
            panic!()
        };
        let limits = |key: &ledger::Key| -> Vec<(u32, i64)> {
            let seconds = |limit: &ledger::Limit| limit.period.unwrap().seconds;
            key.limits
                .iter()
                .map(|limit| (limit.requests, seconds(limit)))
                .collect()
        };
        assert_eq!(limits(&keys[0]), [(10, 61)]);
        assert_eq!(limits(&keys[1]), [(10, 61), (5, 86_401)]);
    }

    #[test]
    fn a_bad_key_is_set_aside_until_it_changes_and_is_named_but_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let ring = ring(&folder, "[[keys]]\nname = \"a\"\nkey = \"s3cret\"\n");
        assert_eq!(names(&ring), ["a"]);
        let secret = ring.secret("a").unwrap();
        ring.set_aside("a", &secret, "HTTP 400: not valid");
        let error = ring.usable().unwrap_err().to_string();
        assert!(error.contains("'a' (HTTP 400: not valid)"), "{error}");
        assert!(!format!("{error} {ring:?}").contains("s3cret"));
        let path = folder.path().join("keys.toml");
        fs::write(&path, "[[keys]]\nname = \"a\"\nkey = \"good\"\n").unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert_eq!(names(&ring), ["a"]);
    }

    #[test]
    fn a_file_that_breaks_leaves_the_keys_there_were_and_errors_show_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let broken = "[[keys]]\nname = \"a\"\nkey = s3cret\n";
        let error = ring(&folder, broken).usable().unwrap_err().to_string();
        assert!(
            error.contains("line 3") && !error.contains("s3cret"),
            "{error}"
        );
        let ring = ring(&folder, TWO);
        assert_eq!(names(&ring).len(), 2);
        fs::write(&path, broken).unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert_eq!(names(&ring).len(), 2);
        fs::remove_file(&path).unwrap();
        assert_eq!(names(&ring).len(), 2);
    }
}
