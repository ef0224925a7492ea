//! Publishing a folder on the Hugging Face hub, or on any server that speaks its HTTP protocol (as `huggingface_hub` 0.36 does).
//!
//! | step | request |
//! |---|---|
//! | the repository, where it is new | `POST /api/repos/create` |
//! | which files are large | `POST /api/models/{repository}/preupload/main` |
//! | which large ones are not there yet | `POST /{repository}.git/info/lfs/objects/batch` |
//! | those, whole or in parts | `PUT` where the answer says, then its `verify` |
//! | all of them at once | `POST /api/models/{repository}/commit/main`, lines of JSON |
//!
//! Nothing shows in the repository before the commit. A publication that breaks off is begun again with the same call: large files
//! that arrived are not sent again. A request that gets no answer, or one of the server's own faults, is repeated a few times.

mod client;
mod error;
mod files;
mod protocol;
mod token;
mod upload;

pub use error::HubError;
pub use token::Token;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use client::Client;
use files::LocalFile;
use protocol::{Commit, CommitLine, CreateRepository, Preupload, PreuploadAnswer, PreuploadFile};
use reqwest::StatusCode;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

/// Files that one question to the hub names, as its own client does.
const AT_ONCE: usize = 256;
/// What the hub calls a file that is kept as a large one.
const LARGE: &str = "lfs";

/// Where and how to publish.
#[derive(Debug, Clone)]
pub struct Options {
    /// The hub: `https://huggingface.co`.
    pub endpoint: String,
    /// `OWNER/NAME`.
    pub repository: String,
    /// Whether a repository that is new is private.
    pub private: bool,
    pub token: Token,
    /// Before a request is repeated for the first time; twice as long each time after.
    pub retry_after: Duration,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Address of the commit; none where the hub has all of it already.
    pub commit: Option<String>,
    /// Large files that were sent.
    pub sent: Vec<String>,
    /// Large files that were there already.
    pub present: Vec<String>,
    /// Small files, which travel in the commit itself.
    pub small: Vec<String>,
}

/// Publishes every file below `folder`, but hidden ones, as one commit. `sending` hears of each large file before it is sent: its
/// name and size.
///
/// # Errors
/// [`HubError`] says what went wrong and what to do.
pub async fn publish(
    folder: &Path,
    options: &Options,
    mut sending: impl FnMut(&str, u64),
) -> Result<Published, HubError> {
    let client = Client::new(options)?;
    let folder = folder.to_path_buf();
    let files = tokio::task::spawn_blocking(move || files::below(&folder));
    let files = files.await.map_err(|error| HubError::Unexpected {
        what: "reading the files",
        why: error.to_string(),
    })??;
    create(&client, options).await?;
    let modes = preupload(&client, options, &files).await?;
    let mode = |file: &LocalFile| modes.get(&file.path);
    let wanted: Vec<&LocalFile> = files
        .iter()
        .filter(|file| mode(file).is_some_and(|mode| !mode.should_ignore))
        .collect();
    // Empty files cannot be kept as large ones.
    let is_large = |file: &LocalFile| {
        file.size > 0 && mode(file).is_some_and(|mode| mode.upload_mode == LARGE)
    };
    let (large, small): (Vec<&LocalFile>, Vec<&LocalFile>) =
        wanted.into_iter().partition(|file| is_large(file));
    let missing = upload::missing(&client, options, &large).await?;
    let mut sent = HashSet::new();
    for (file, actions) in &missing {
        // The same bytes under two names are one object.
        if sent.insert(file.sha256.as_str()) {
            sending(&file.path, file.size);
            upload::send(&client, file, actions).await?;
        }
    }
    let changed: Vec<&LocalFile> = large
        .iter()
        .copied()
        .filter(|file| {
            mode(file).and_then(|mode| mode.oid.as_deref()) != Some(file.sha256.as_str())
        })
        .collect();
    let commit = match changed.is_empty() && small.is_empty() {
        true => None,
        false => Some(commit(&client, options, &changed, &small).await?),
    };
    let is_sent = |file: &&&LocalFile| sent.contains(file.sha256.as_str());
    let names = |files: Vec<&LocalFile>| files.into_iter().map(|file| file.path.clone()).collect();
    Ok(Published {
        commit,
        sent: names(large.iter().filter(is_sent).copied().collect()),
        present: names(
            large
                .iter()
                .filter(|file| !is_sent(file))
                .copied()
                .collect(),
        ),
        small: names(small),
    })
}

/// Makes the repository, unless it is there.
async fn create(client: &Client, options: &Options) -> Result<(), HubError> {
    let (organization, name) = owner_and_name(&options.repository)?;
    let body = CreateRepository {
        name,
        organization,
        private: options.private,
        r#type: "model",
    };
    let what = "making the repository";
    let answer = client.post(what, "/api/repos/create", &body).await?;
    match answer.status {
        status if status.is_success() || status == StatusCode::CONFLICT => Ok(()),
        // Whoever may not make repositories may write into one that is there.
        StatusCode::FORBIDDEN => {
            let known = client
                .get(what, &format!("/api/models/{}", options.repository))
                .await?;
            match known.status.is_success() {
                true => Ok(()),
                false => Err(answer.failure(what, options)),
            }
        }
        _ => Err(answer.failure(what, options)),
    }
}

/// How each file is to be sent, by its path.
async fn preupload(
    client: &Client,
    options: &Options,
    files: &[LocalFile],
) -> Result<HashMap<String, PreuploadAnswer>, HubError> {
    let what = "asking how to send the files";
    let address = format!("/api/models/{}/preupload/main", options.repository);
    let mut modes = HashMap::new();
    for files in files.chunks(AT_ONCE) {
        let asked = files.iter().map(|file| PreuploadFile {
            path: &file.path,
            sample: BASE64_STANDARD.encode(&file.sample),
            size: file.size,
        });
        let body = Preupload {
            files: asked.collect(),
        };
        let answer = client.post(what, &address, &body).await?;
        let answer: Preupload<PreuploadAnswer> = answer.read(what, options)?;
        modes.extend(
            answer
                .files
                .into_iter()
                .map(|file| (file.path.clone(), file)),
        );
    }
    match files.iter().find(|file| !modes.contains_key(&file.path)) {
        None => Ok(modes),
        Some(file) => Err(HubError::Unexpected {
            what,
            why: format!("the answer does not tell of {}", file.path),
        }),
    }
}

/// Makes the commit; gives its address.
async fn commit(
    client: &Client,
    options: &Options,
    large: &[&LocalFile],
    small: &[&LocalFile],
) -> Result<String, HubError> {
    let what = "the commit";
    let mut lines = vec![CommitLine::Header {
        summary: "Published by SAGA",
        description: "",
    }];
    for file in small {
        let content = tokio::fs::read(&file.at)
            .await
            .map_err(HubError::io(&file.at))?;
        lines.push(CommitLine::File {
            content: BASE64_STANDARD.encode(content),
            path: &file.path,
            encoding: "base64",
        });
    }
    lines.extend(large.iter().map(|file| CommitLine::LfsFile {
        path: &file.path,
        algo: "sha256",
        oid: &file.sha256,
        size: file.size,
    }));
    let address = format!("/api/models/{}/commit/main", options.repository);
    let answer = client.post_lines(what, &address, &lines).await?;
    let commit: Commit = answer.read(what, options)?;
    Ok(commit.commit_url)
}

fn owner_and_name(repository: &str) -> Result<(&str, &str), HubError> {
    let is_name = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !name.is_empty()
            && name.chars().all(plain)
            && !name.contains("..")
            && !name.starts_with(['.', '-'])
    };
    match repository.split_once('/') {
        Some((owner, name)) if is_name(owner) && is_name(name) => Ok((owner, name)),
        _ => Err(HubError::Repository {
            name: repository.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_an_owner_and_a_name() {
        assert_eq!(
            owner_and_name("lab/vit-emotion_2.0").unwrap(),
            ("lab", "vit-emotion_2.0")
        );
        for wrong in ["vit", "a/b/c", "/b", "a/", "a/..", "a/b?c", "a b/c", "../b"] {
            assert!(
                matches!(owner_and_name(wrong), Err(HubError::Repository { .. })),
                "{wrong}"
            );
        }
    }
}
